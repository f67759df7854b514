"""Prompts that a model does not read as they are."""

from usd.inference.pipeline import USDiffusionPipeline
from usd.model.base import prompt_tokens


def prompt_warnings(pipeline: USDiffusionPipeline, prompt: str) -> list[str]:
    """Warnings about a prompt that is longer than the model reads, or has letters that its tokenizer does not know."""
    tokenizer, most = pipeline.tokenizer, prompt_tokens(pipeline)
    found = len(tokenizer(prompt, verbose=False).input_ids)
    words = dict.fromkeys(prompt.split())
    unknown = [word for word in words if tokenizer.unk_token_id in tokenizer(word, add_special_tokens=False).input_ids]
    long = [f"prompt: the model reads the first {most} of its {found} tokens; shorten it"]
    strange = [f"prompt: the model does not know all letters of {', '.join(unknown)}; use other words"]
    return (long if found > most else []) + (strange if unknown else [])

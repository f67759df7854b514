"""A training step with and without `usd encode`, at the shapes of Stable Diffusion 1.5 and with random weights.

python -m benchmarks.encode --steps 1 --items 1

Both sides run the same objective on the same batch in turn; the first takes latents and text states from the batch. It
needs about 12 GB of memory.
"""

import dataclasses
import time

import torch
import typer

from benchmarks.memory import base_of, parameters
from usd.annotators.bundled import soft_edges
from usd.data.loader import Batch
from usd.determinism import accelerator_for
from usd.model.base import encode, encode_text
from usd.tasks import TRAINED
from usd.training.finetune import new_denoiser
from usd.training.objective import Objective

PROFILE, TOKENS = "sd15", 77


def batch_of(items: int, size: int) -> Batch:
    """Random pictures of all tasks in turn."""
    pictures = torch.rand(4, items, 3, size, size, generator=torch.Generator().manual_seed(0))
    task = torch.arange(items) % len(TRAINED)
    words = ["a cube"] * items
    return Batch(TRAINED, task, *pictures, words, words, ["key"] * items, 0)


def main(steps: int = 3, items: int = len(TRAINED), device: str = "auto") -> None:
    """Print seconds per training step, encoding at every step and with `usd encode`, and their ratio."""
    params = parameters(PROFILE)
    accelerator = accelerator_for(device, "no")
    base = base_of(params).freeze().to(accelerator.device)
    base.tokenizer.model_max_length = TOKENS
    variant = params.variants["us_diffusion"]
    denoiser = new_denoiser(base, variant, params.train).to(accelerator.device).train()
    weights = [weight for weight in denoiser.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()  # makes its state
    objective = Objective(base, dict.fromkeys(("depth", "hed", "seg"), soft_edges), params.train, variant)
    plain = batch_of(items, params.render.image_size)
    tensors = {
        field.name: value.to(accelerator.device)
        for field in dataclasses.fields(plain)
        if isinstance(value := getattr(plain, field.name), torch.Tensor)
    }
    plain = dataclasses.replace(plain, **tensors)
    with torch.no_grad():
        latents, text = encode(base.vae, plain.target), encode_text(base, plain.prompts)
    sides = {"usd encode": dataclasses.replace(plain, latents=latents, text=text), "at every step": plain}
    seconds = dict.fromkeys(sides, 0.0)
    for number in range(-1 if steps > 1 else 0, steps):  # the first of several is not counted
        for name, batch in sides.items():
            began = time.perf_counter()
            terms = objective(denoiser, batch)
            torch.stack([term for key, term in terms.items() if "/" not in key]).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            if accelerator.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name] += (time.perf_counter() - began) / steps if number >= 0 else 0.0
    for name, value in seconds.items():
        print(f"{name}: {value:.2f} s a step of {items} items, {items / value:.2f} items/s")
    print(f"ratio: {seconds['at every step'] / seconds['usd encode']:.2f}")


if __name__ == "__main__":
    typer.run(main)

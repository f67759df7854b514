"""An untrained tiny base, which stage `base` trains: the same parts as Stable Diffusion's, small."""

import json

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from usd.model.base import Base, PatchCodec

PROMPT_TOKENS = 48  # longer captions are cut
VOCABULARY = 600  # tokens at most
WORD_STD = 0.06  # of the word embeddings: louder than the position embeddings, whose std is CLIP's 0.02


def new_base(patch_size: int, channels: list[int], text_width: int, captions: list[str], size: int) -> Base:
    """An untrained tiny base for images of `size` pixels; the tokenizer is fitted to the captions.

    Weights come from PyTorch's global generator.
    """
    tokenizer = fit_tokenizer(captions)
    unet = _unet(3 * patch_size**2, channels, text_width, size // patch_size)
    return Base(PatchCodec(patch_size=patch_size), unet, _text_encoder(tokenizer, text_width), tokenizer, _scheduler())


def _unet(latents: int, channels: list[int], text_width: int, size: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=latents,
        out_channels=latents,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        mid_block_type="UNetMidBlock2DCrossAttn",
        norm_num_groups=1,  # small groups lose a picture's brightness, and slowed learning in trials
        cross_attention_dim=text_width,
        attention_head_dim=4,  # diffusers' name for the number of heads
        addition_embed_type="text",  # the pooled text joins the timestep: a map's name must reach every layer
    )


def _text_encoder(tokenizer: CLIPTokenizer, width: int) -> CLIPTextModel:
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=PROMPT_TOKENS,
            projection_dim=width,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    torch.nn.init.normal_(encoder.get_input_embeddings().weight, std=WORD_STD)
    return encoder


def _scheduler() -> DDIMScheduler:
    """The schedule of Stable Diffusion, rescaled so that x_T is pure noise (arXiv 2305.08891).

    Otherwise x_t at t = 999 keeps a trace of the signal, which sampling does not start with.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
        prediction_type="sample",
        rescale_betas_zero_snr=True,
    )


def fit_tokenizer(captions: list[str]) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with a vocabulary of the captions' words; the same captions give the same tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    fitted = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    fitted.normalizer = normalizers.Lowercase()
    fitted.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = sorted({letter for caption in captions for letter in caption.lower() if not letter.isspace()})
    # letters that the trainer has to find itself are numbered in the order of a hash map, which changes between runs
    given = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=given, end_of_word_suffix="</w>", show_progress=False
    )
    fitted.train_from_iterator(sorted(captions), trainer)
    model = json.loads(fitted.to_str())["model"]
    return CLIPTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], model_max_length=PROMPT_TOKENS
    )

"""The frozen base: a latent diffusion model in diffusers' directory layout.

    vae/ unet/ text_encoder/ tokenizer/ scheduler/

Stable Diffusion 1.5 fits by hub id or path. The bundled base has the same parts, tiny, and in the VAE's place the
`PatchCodec`: its latents are 2×2 blocks of pixels.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import AutoencoderMixin
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from usd.errors import UsdError

COMPONENTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
PROMPT_TOKENS = 48  # longer captions are cut


class PatchCodec(ModelMixin, AutoencoderMixin, ConfigMixin):
    """A codec without weights: (B, 3, H, W) in [-1, 1] ⇄ (B, 3·p², H/p, W/p), by moving p×p pixels into channels."""

    @register_to_config
    def __init__(self, patch_size: int = 2, scaling_factor: float = 1.0) -> None:
        super().__init__()
        self.use_slicing = self.use_tiling = False  # may be switched on, as autoencoders' can, to no effect
        self.register_buffer("place", torch.empty(0), persistent=False)  # has the device and dtype asked for

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        subfolder: str | None = None,
        torch_dtype: torch.dtype | None = None,
        **_: Any,  # diffusers' other options are about weights
    ) -> "PatchCodec":
        """Read its settings; there are no weights."""
        codec = cls.from_config(cls.load_config(path, subfolder=subfolder))
        placed: PatchCodec = codec.to(torch_dtype or torch.float32)
        return placed

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels to latents."""
        return F.pixel_unshuffle(pixels, self.config.patch_size)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pixels."""
        return F.pixel_shuffle(latents, self.config.patch_size)


@dataclass
class Base:
    """The parts of the base, as modules."""

    vae: PatchCodec | AutoencoderKL
    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler

    def to(self, device: torch.device | str) -> "Base":
        """Move all modules."""
        for module in (self.vae, self.unet, self.text_encoder):
            module.to(device)
        return self

    def digest(self) -> str:
        """Hex digest of all weights and settings."""
        settings = [dict(part.config) for part in (self.vae, self.unet, self.scheduler)]
        words = [self.text_encoder.config.to_dict(), self.tokenizer.get_vocab()]
        found = hashlib.sha256(json.dumps([*settings, *words], sort_keys=True, default=str).encode())
        for module in (self.vae, self.unet, self.text_encoder):
            for weight in module.parameters():
                found.update(weight.detach().cpu().flatten().view(torch.uint8).numpy())
        return found.hexdigest()

    def freeze(self) -> "Base":
        """No part learns."""
        for module in (self.vae, self.unet, self.text_encoder):
            module.eval().requires_grad_(False)
        return self


def scale_factor(vae: PatchCodec | AutoencoderKL) -> int:
    """Pixels per latent and axis."""
    return int(vae.config.patch_size if isinstance(vae, PatchCodec) else 2 ** (len(vae.config.block_out_channels) - 1))


def encode(vae: PatchCodec | AutoencoderKL, image: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] to scaled latents (B, C, h, w); of an autoencoder's distribution, the mode."""
    pixels = image * 2 - 1
    encoded = vae.encode(pixels)
    if isinstance(encoded, Tensor):  # of the PatchCodec
        return encoded
    latents: Tensor = encoded.latent_dist.mode() * vae.config.scaling_factor
    return latents


def decode(vae: PatchCodec | AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents to images (B, 3, H, W), nominally in [0, 1], not clamped; differentiable."""
    decoded = vae.decode(latents / vae.config.scaling_factor)
    return ((decoded if isinstance(decoded, Tensor) else decoded.sample) + 1) / 2


def encode_text(base: Any, prompts: list[str]) -> Tensor:
    """Text states (B, L, D) of `prompts`; the longest prompt of this base sets L."""
    tokens = base.tokenizer(
        prompts, padding="max_length", max_length=base.tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    states: Tensor = base.text_encoder(tokens.input_ids.to(base.text_encoder.device)).last_hidden_state
    return states


def load_base(path: str) -> Base:
    """Load a base from a directory or a hub id.

    Raises:
        UsdError: a component is missing or unreadable; pickled weights are not loaded.
    """
    root = Path(path)
    local = root.is_dir()
    if not local and (root.is_absolute() or path.startswith(".") or path.count("/") != 1 or path.startswith("models/")):
        raise UsdError(f"{path}: no such directory; train.base names a diffusers directory or a hub id")
    if local:
        for part in COMPONENTS:
            if not (root / part).is_dir():
                raise UsdError(f"{root}: component '{part}/' is missing; a base has {', '.join(COMPONENTS)}")
    weights: dict[str, Any] = {"use_safetensors": True}
    try:
        return Base(
            vae=_load_codec(path, weights),
            unet=UNet2DConditionModel.from_pretrained(path, subfolder="unet", **weights),
            text_encoder=CLIPTextModel.from_pretrained(path, subfolder="text_encoder", **weights),
            tokenizer=CLIPTokenizer.from_pretrained(path, subfolder="tokenizer"),
            scheduler=DDIMScheduler.from_pretrained(path, subfolder="scheduler"),
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsdError(f"{path}: not a readable base: {' '.join(str(error).split())[:300]}") from error


def save_base(base: Base, root: Path) -> None:
    """Write the base in diffusers' layout, weights as safetensors."""
    for part in COMPONENTS:
        getattr(base, part).save_pretrained(root / part)
    (root / "model_index.json").write_text(
        json.dumps({part: type(getattr(base, part)).__name__ for part in COMPONENTS}, indent=1) + "\n"
    )


def _load_codec(path: str, weights: dict[str, Any]) -> PatchCodec | AutoencoderKL:
    config = Path(path) / "vae" / "config.json"
    if config.is_file() and json.loads(config.read_text()).get("_class_name") == "PatchCodec":
        return PatchCodec.from_pretrained(path, subfolder="vae")
    return AutoencoderKL.from_pretrained(path, subfolder="vae", **weights)


def new_base(patch_size: int, channels: list[int], text_width: int, captions: list[str], size: int) -> Base:
    """An untrained tiny base for images of `size` pixels; the tokenizer is fitted to the captions."""
    tokenizer = _fit_tokenizer(captions)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=text_width,
        intermediate_size=2 * text_width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=PROMPT_TOKENS,
        projection_dim=text_width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    latents = 3 * patch_size**2
    unet = UNet2DConditionModel(
        sample_size=size // patch_size,
        in_channels=latents,
        out_channels=latents,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        mid_block_type="UNetMidBlock2DCrossAttn",
        norm_num_groups=1,  # small groups would lose a picture's brightness, and slowed learning
        cross_attention_dim=text_width,
        attention_head_dim=4,  # diffusers' name for the number of heads
        addition_embed_type="text",  # the pooled text joins the timestep: a map's name must reach every layer
    )
    scheduler = DDIMScheduler(  # the schedule of Stable Diffusion …
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
        prediction_type="sample",
        rescale_betas_zero_snr=True,  # … to pure noise (arXiv 2305.08891): what little else is left, sampling lacks
    )
    text_encoder = CLIPTextModel(text)
    torch.nn.init.normal_(text_encoder.get_input_embeddings().weight, std=0.06)  # words count for more than places
    return Base(PatchCodec(patch_size=patch_size), unet, text_encoder, tokenizer, scheduler)


def _fit_tokenizer(captions: list[str]) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with a vocabulary of the captions' words; the same captions give the same tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    fitted = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    fitted.normalizer = normalizers.Lowercase()
    fitted.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = sorted({letter for caption in captions for letter in caption.lower() if not letter.isspace()})
    # the trainer numbers what it is not given in the order of a hash map, which no two runs share
    given = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=given, end_of_word_suffix="</w>", show_progress=False)
    fitted.train_from_iterator(sorted(captions), trainer)
    model = json.loads(fitted.to_str())["model"]
    return CLIPTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], model_max_length=PROMPT_TOKENS
    )

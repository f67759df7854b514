"""The base: a latent diffusion model in diffusers' directory layout.

    vae/ unet/ text_encoder/ tokenizer/ scheduler/

Stable Diffusion 1.5 fits, by hub id or path. The bundled base has the same parts, tiny, and a `PatchCodec` instead of
the VAE: its latents are 2×2 blocks of pixels.
"""

import hashlib
import inspect
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
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from usd.errors import UsdError, counted
from usd.model.requirements import COMPONENTS, check_base, check_signal, stored_variant
from usd.model.source import local_copy, one_line_errors
from usd.model.weights import check_finite

NO_SETTINGS = ("_", "transformers_version")  # how entries of a configuration begin that tell nothing of the model


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
        torch_dtype: torch.dtype | None = None,  # as diffusers' pipelines still call it
        **_: Any,  # diffusers' other options are about weights
    ) -> "PatchCodec":
        """Read its settings; there are no weights."""
        codec: PatchCodec = cls.from_config(cls.load_config(path, subfolder=subfolder))
        codec.place = codec.place.to(torch_dtype or torch.float32)
        return codec

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels to latents."""
        return F.pixel_unshuffle(pixels, self.config.patch_size)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pixels."""
        return F.pixel_shuffle(latents, self.config.patch_size)


@dataclass
class Base:
    """The parts of a base."""

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
        """Hex digest of all weights and settings, the same in every process.

        What starts with an underscore is not a setting: where it was loaded from, and in an order that differs from
        process to process which settings its file left out. Nor is the version of the library that loaded it.
        """
        parts = [part.config for part in (self.vae, self.unet, self.scheduler)] + [self.text_encoder.config.to_dict()]
        settings = [{key: value for key, value in part.items() if not key.startswith(NO_SETTINGS)} for part in parts]
        known = json.dumps([*settings, self.tokenizer.get_vocab()], sort_keys=True, default=str)
        found = hashlib.sha256(known.encode())
        for module in (self.vae, self.unet, self.text_encoder):
            for weight in module.parameters():
                found.update(weight.detach().cpu().flatten().view(torch.uint8).numpy())
        return found.hexdigest()

    def freeze(self) -> "Base":
        """Switch training off in all parts."""
        for module in (self.vae, self.unet, self.text_encoder):
            module.eval().requires_grad_(False)
        return self


def scale_factor(vae: PatchCodec | AutoencoderKL) -> int:
    """Pixels per latent and axis."""
    return int(vae.config.patch_size if isinstance(vae, PatchCodec) else 2 ** (len(vae.config.block_out_channels) - 1))


def encode(vae: PatchCodec | AutoencoderKL, image: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] to scaled latents (B, C, h, w); the mode of an autoencoder's distribution."""
    encoded = vae.encode(image * 2 - 1)
    latents: Tensor = encoded if isinstance(encoded, Tensor) else encoded.latent_dist.mode()
    scaled: Tensor = latents * vae.config.scaling_factor
    return scaled


def decode(vae: PatchCodec | AutoencoderKL, latents: Tensor) -> Tensor:
    """Scaled latents to images (B, 3, H, W), nominally in [0, 1], not clamped; differentiable."""
    decoded = vae.decode(latents / vae.config.scaling_factor)
    return ((decoded if isinstance(decoded, Tensor) else decoded.sample) + 1) / 2


def encode_text(base: Any, prompts: list[str]) -> Tensor:
    """Text states (B, L, D) of `prompts`; the longest prompt of this base sets L."""
    length = prompt_tokens(base)
    tokens = base.tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    states: Tensor = base.text_encoder(tokens.input_ids.to(base.text_encoder.device)).last_hidden_state
    return states


def prompt_tokens(base: Any) -> int:
    """Tokens that this base reads of a prompt at most, its start and its end among them."""
    return int(min(base.tokenizer.model_max_length, base.text_encoder.config.max_position_embeddings))


def load_base(path: str) -> Base:
    """Load a base from a directory or a hub id, in single precision whatever it is stored in.

    Raises:
        UsdError: a component is missing, unreadable, or of a kind that does not fit; pickled weights are not loaded.
    """
    root = local_copy(path, "a base", COMPONENTS)
    with one_line_errors(path):
        check_base(root)
        schedule = load_schedule(root / "scheduler")  # before the weights, which take longer
        codec = json.loads((root / "vae/config.json").read_text())["_class_name"] == "PatchCodec"
        base = Base(
            vae=PatchCodec.from_pretrained(root / "vae") if codec else _load(AutoencoderKL, root / "vae"),
            unet=_load(UNet2DConditionModel, root / "unet"),
            text_encoder=_load(CLIPTextModel, root / "text_encoder"),
            tokenizer=CLIPTokenizer.from_pretrained(root / "tokenizer"),
            scheduler=schedule,
        )
    _check_tokens(path, base)
    return base


def save_base(base: Base, root: Path) -> None:
    """Write the base in diffusers' layout, weights as safetensors."""
    base.tokenizer.backend_tokenizer.no_truncation()  # as its last call left it; a resumed training may make none
    base.tokenizer.backend_tokenizer.no_padding()
    base.tokenizer.init_kwargs.pop("local_files_only", None)  # true where HF_HUB_OFFLINE is set
    for part in COMPONENTS:
        getattr(base, part).save_pretrained(root / part)
    (root / "model_index.json").write_text(
        json.dumps({part: type(getattr(base, part)).__name__ for part in COMPONENTS}, indent=1) + "\n"
    )


def _load(kind: Any, folder: Path) -> Any:
    """A model with all its weights, finite ones; diffusers and transformers alone would draw missing ones at random."""
    model, found = kind.from_pretrained(
        folder,
        variant=stored_variant(folder),
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are named below
    )
    if wrong := sorted(found["mismatched_keys"]):
        name, stored, wanted = wrong[0]
        sizes = f"{name} of {tuple(stored)} instead of {tuple(wanted)}"
        count = counted(len(wrong), "weight does", "weights do")
        raise UsdError(f"{folder}: {count} not fit its config.json, the first is {sizes}")
    if missing := sorted(found["missing_keys"]):
        raise UsdError(f"{folder}: missing weights: {len(missing)}, the first is {missing[0]}; download it again")
    check_finite(folder, model)
    return model


def load_schedule(folder: Path) -> DDIMScheduler:
    """Noise schedule and prediction type of any scheduler; its own way of sampling (Karras, clipping, …) is left out.

    Raises:
        UsdError: they are not a scheduler's settings, or make no schedule that noise grows along.
    """
    known = inspect.signature(DDIMScheduler.__init__).parameters
    with one_line_errors(folder / "scheduler_config.json"):
        settings = DDIMScheduler.load_config(folder)
        settings = {name: value for name, value in settings.items() if name in known}
        schedule = DDIMScheduler.from_config(settings | {"clip_sample": False, "thresholding": False})
    check_signal(folder / "scheduler_config.json", schedule)
    return schedule


def _check_tokens(path: str, base: Base) -> None:
    """The tokenizer's tokens and its longest prompt must be within what the text encoder knows."""
    settings = base.text_encoder.config
    if len(base.tokenizer) > settings.vocab_size:
        raise UsdError(
            f"{path}: the tokenizer has {len(base.tokenizer)} tokens, and the text encoder knows "
            f"{settings.vocab_size}; take both from one base"
        )
    longest = settings.max_position_embeddings
    base.tokenizer.model_max_length = min(base.tokenizer.model_max_length, longest)

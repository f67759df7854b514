"""Checks of what a call of the pipeline is given, before it computes anything."""

from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from usd.errors import UsdError
from usd.inference.images import Pair, as_batch

Generators = torch.Generator | list[torch.Generator] | None  # a list has one per result


def per_query(name: str, value: Any, count: int) -> list[Any]:
    """A list with an entry per query, from one or from such a list."""
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise UsdError(f"{name}: {len(values)} {name}s for {count} queries; give one, or one per query")
    for task in values if name == "task" else ():
        if task is not None and not (task.startswith("image2") or task.endswith("2image")):
            raise UsdError(f"unknown task '{task}'; expected image2<map> or <map>2image, such as image2depth")
    return values


def joined(pair: Pair, queries: Tensor, size: int) -> Tensor:
    """Source and target as one, (B, 6, H, W)."""
    parts = [as_batch("image_pair", part, size) for part in pair]
    for part in parts:
        if part.shape[1:] != queries.shape[1:] or len(part) not in (1, len(queries)):
            raise UsdError(f"image_pair: shape {tuple(part.shape)} does not fit queries of {tuple(queries.shape)}")
    return torch.cat([part.expand(len(queries), -1, -1, -1) for part in parts], dim=1)


def check_sides(queries: Tensor, multiple: int) -> None:
    """The U-Net halves its sides several times, and must be able to double them again."""
    if queries.shape[-1] % multiple or queries.shape[-2] % multiple:
        raise UsdError(f"query: sides {tuple(queries.shape[-2:])} must be multiples of {multiple} pixels")


def check_options(output_type: str, tensors: tuple[str, ...] | list[str]) -> None:
    """What a call can return, and what a callback can see."""
    if output_type not in ("pil", "np", "pt", "latent"):
        raise UsdError(f"output_type: '{output_type}' is unknown; expected pil, np, pt or latent")
    if unknown := set(tensors) - {"latents"}:
        raise UsdError(f"callback_on_step_end_tensor_inputs: {sorted(unknown)} are unknown; there are only latents")


def starting_noise(shape: tuple[int, ...], generator: Generators) -> Tensor:
    """x_T, drawn on the CPU, so that the same seed gives the same noise on any device."""
    if isinstance(generator, list):
        per_query("generator", generator, shape[0])
    noise: Tensor = randn_tensor(shape, generator)
    return noise

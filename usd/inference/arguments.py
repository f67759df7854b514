"""Checks of what a call of the pipeline is given, before it computes anything, and of what comes out."""

import math
import re
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError, counted
from usd.inference.images import Pair, as_batch
from usd.tasks import TASKS

TASK = re.compile(r"image2.+|.+2image")
PATCH = 4  # pixels; the network that reads the task off a pair takes 4 at a time
Generators = torch.Generator | list[torch.Generator] | None  # a list has one per result


def per_query(name: str, value: Any, count: int) -> list[Any]:
    """A list with an entry per query, from one or from such a list."""
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        queries = counted(count, "query", "queries")
        raise UsdError(f"{name}: {len(values)} given for {queries}; give one, or one per query")
    for text in values if name in ("prompt", "task") else ():
        if not isinstance(text, str) and not (name == "task" and text is None):
            raise UsdError(f"{name}: {type(text).__name__} is not text; give one text, or a list with one per query")
        if name == "task" and text is not None and not TASK.fullmatch(text):
            raise UsdError(f"unknown task '{text}'; expected image2<map> or <map>2image, such as image2depth")
        if name == "prompt" and any("\ud800" <= letter <= "\udfff" for letter in text or ""):
            raise UsdError("prompt: not UTF-8; type it in a terminal of that encoding")
    return values


def check_task(task: str | None, trained: Iterable[str]) -> None:
    """Refuse a name that is neither of the task table nor of the model's own tasks."""
    known = list(dict.fromkeys((*TASKS, *trained)))
    if task is not None and task not in known:
        raise UsdError(f"unknown task '{task}'; known: {', '.join(known)}")


def joined(pair: Pair, queries: Tensor, size: int) -> Tensor:
    """Source and target as one, (B, 6, H, W)."""
    parts = [as_batch("image_pair", part, size) for part in pair]
    for part in parts:
        if part.shape[1:] != queries.shape[1:] or len(part) not in (1, len(queries)):
            raise UsdError(f"image_pair: shape {tuple(part.shape)} does not fit queries of {tuple(queries.shape)}")
    return torch.cat([part.expand(len(queries), -1, -1, -1) for part in parts], dim=1)


def check_sides(queries: Tensor, multiple: int) -> None:
    """Refuse sides that are not whole numbers of latents, of which the U-Net takes any number, or too short."""
    sides, least = tuple(queries.shape[-2:]), max(PATCH, multiple)
    if any(side % multiple for side in sides) or min(sides) < least:
        raise UsdError(f"query: sides {sides} must be multiples of {multiple} pixels, and at least {least}")


def check_numbers(steps: Any, timesteps: Any, scale: Any, interval: Any, each: Any) -> None:
    """Refuse other values than numbers, which would end in black pictures or deep in a library."""
    for name, value in (("num_images_per_prompt", each), ("num_inference_steps", 1 if steps is None else steps)):
        if not isinstance(value, Integral):
            raise UsdError(f"{name}: {value!r} is not a whole number")
    if each < 1:
        raise UsdError(f"num_images_per_prompt: must be at least 1, not {each}")
    if timesteps is not None and not all(_number(t) and float(t).is_integer() for t in _several(timesteps)):
        raise UsdError(f"timesteps: {timesteps!r} is not a list of whole numbers")
    if timesteps is not None and steps is not None:
        given = len(_several(timesteps))
        if given != steps and given != len(sampling_timesteps("ess", int(steps))):
            raise UsdError(f"timesteps: {given} given, and num_inference_steps is {steps}; give one of the two")
    if scale is not None and (not _number(scale) or scale < 0):
        raise UsdError(f"guidance_scale: {scale!r} is not a finite number of at least 0; 1 switches guidance off")
    ends = _several(interval)
    if len(ends) != 2 or not all(map(_number, ends)) or ends[0] > ends[1]:
        raise UsdError(f"guidance_interval: {interval!r} is not a pair of timesteps, the lowest and the highest")


def _several(value: Any) -> list[Any]:
    """The entries of a list, a range, an array or a tensor; [None] of anything else."""
    return list(value) if isinstance(value, (Iterable, Tensor)) and not isinstance(value, str) else [None]


def _number(value: Any) -> bool:
    """Whether it is a finite number, such as 2, 2.5, or an array or a tensor of one."""
    single = isinstance(value, Real) or getattr(value, "shape", None) == ()
    return single and math.isfinite(value)


def check_options(output_type: str, on_step_end: Any, tensors: tuple[str, ...] | list[str]) -> None:
    """What a call can return, what it calls, and what that can see."""
    if on_step_end is not None and not callable(on_step_end):
        raise UsdError(f"callback_on_step_end: {type(on_step_end).__name__} is not a function")
    if output_type not in ("pil", "np", "pt", "latent"):
        raise UsdError(f"output_type: '{output_type}' is unknown; expected pil, np, pt or latent")
    if unknown := set(tensors) - {"latents"}:
        raise UsdError(f"callback_on_step_end_tensor_inputs: {sorted(unknown)} are unknown; there are only latents")


def starting_noise(shape: tuple[int, ...], generator: Generators, given: Tensor | None) -> Tensor:
    """x_T: the latents given, or drawn where the generator is.

    The same seed of a CPU generator, or of none, gives the same noise on any device.
    """
    if isinstance(generator, list):
        per_query("generator", generator, shape[0])
    several = generator if isinstance(generator, list) else [generator]
    for each in several:
        if not isinstance(each, torch.Generator) and generator is not None:
            raise UsdError(f"generator: {type(each).__name__} is not one; torch.Generator().manual_seed(0) is")
    if given is not None:
        return fitting("latents", given, shape)
    noise: Tensor = randn_tensor(shape, generator, None if several[0] is None else several[0].device)
    return noise


def fitting(name: str, given: Any, shape: tuple[int, ...]) -> Tensor:
    """Latents that come from outside, which must be a tensor of this shape."""
    if not isinstance(given, Tensor) or given.shape != shape or not given.isfinite().all():
        found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise UsdError(f"{name}: {found} does not fit; x_t is a tensor of {tuple(shape)}, all finite")
    return given


def changed_latents(returned: Any, latents: Tensor) -> Tensor:
    """What a callback makes of the latents: those that it returns, if any."""
    if returned is not None and not isinstance(returned, dict):
        kind = type(returned).__name__
        raise UsdError(f'callback_on_step_end: returned {kind}; return None, or {{"latents": …}} to replace them')
    if not returned:
        return latents
    return fitting("callback_on_step_end: latents", returned.get("latents", latents), latents.shape).to(latents)


def check_finite(found: Tensor) -> None:
    """NaN would end as a black picture."""
    if not found.isfinite().all():
        remedy = "lower guidance_scale, load the model in float32 or bfloat16, or train it again if it has diverged"
        raise UsdError(f"a result is not finite; {remedy}")

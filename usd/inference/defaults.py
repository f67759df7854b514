"""How and where a call samples when it does not say.

Timesteps and guidance scale travel with the model: stage `reference` chooses them on validation, and stage `train`
takes the ESS list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from usd.diffusion.sampling import Sampling
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError


def default_samplings(config: Mapping[str, Any], tasks: Sequence[str], indicator: Tensor) -> list[Sampling]:
    """The model's defaults for the directions that the items of an indicator (B, N) lean to: one, or both.

    `config` is the pipeline's `sampling`, and `tasks` are the names of the indicator's columns.
    """
    maps = [number for number, name in enumerate(tasks) if name.startswith("image2")]
    leans = set((indicator[:, maps].sum(1) > 0.5).tolist())
    return [Sampling(**config["image2map" if to_map else "map2image"]) for to_map in sorted(leans)]


def asked_sampling(
    defaults: list[Sampling], steps: int | None, timesteps: list[int] | None, guidance_scale: float | None
) -> Sampling:
    """What a call asks for, else the default.

    Raises:
        UsdError: it does not say, and its items have different defaults.
    """
    if steps is not None:
        timesteps = sampling_timesteps("ess", steps) if timesteps is None else timesteps
    found = [
        Sampling(
            each.timesteps if timesteps is None else list(timesteps),
            each.guidance_scale if guidance_scale is None else guidance_scale,
        )
        for each in defaults
    ]
    if found[0] != found[-1]:
        raise UsdError(
            "some queries ask for a map and some for an image, which this model samples in different ways; "
            "call once for each, or give timesteps and guidance_scale"
        )
    return found[0]


def execution_device(pipeline: DiffusionPipeline) -> torch.device:
    """Where the models run.

    Parts can be offloaded only where there is an accelerator, and only then does diffusers' search through all modules,
    which takes 5 ms, have something to find.
    """
    found: torch.device = pipeline._execution_device if torch.accelerator.is_available() else pipeline.unet.device
    return found

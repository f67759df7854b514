"""How and where a call samples when it does not say.

Timesteps and guidance scale travel with the model: stage `reference` chooses them on validation, and stage `train`
takes the trained timesteps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from usd.diffusion.sampling import Sampling
from usd.diffusion.timesteps import sampling_timesteps

SAMPLING = {  # for a model that says nothing else
    "image2map": Sampling(sampling_timesteps("ess", 1)),
    "map2image": Sampling(sampling_timesteps("ess", 10)),
}


def default_sampling(config: Mapping[str, Any], tasks: Sequence[str], indicator: Tensor) -> Sampling:
    """The model's default for the direction that an indicator (B, N) means: Image2Map if all items lean that way.

    `config` is the pipeline's `sampling`, and `tasks` are the names of the indicator's columns.
    """
    maps = [number for number, name in enumerate(tasks) if name.startswith("image2")]
    leans = bool((indicator[:, maps].sum(1) > 0.5).all())
    return Sampling(**config["image2map" if leans else "map2image"])


def asked_sampling(
    default: Sampling, steps: int | None, timesteps: list[int] | None, guidance_scale: float | None
) -> Sampling:
    """What a call asks for, else the default."""
    if timesteps is None:
        timesteps = default.timesteps if steps is None else sampling_timesteps("ess", steps)
    return Sampling(list(timesteps), default.guidance_scale if guidance_scale is None else guidance_scale)


def execution_device(pipeline: DiffusionPipeline) -> torch.device:
    """Where the models run.

    Parts can be offloaded only where there is an accelerator, and only then does diffusers' search through all modules,
    which takes 5 ms, have something to find.
    """
    found: torch.device = pipeline._execution_device if torch.accelerator.is_available() else pipeline.unet.device
    return found

"""The model cards of a trained variant and of the trained base."""

from dataclasses import asdict

import yaml

from usd import config
from usd.model.licence import origin_of
from usd.tasks import TRAINED

TEXT = """---
{header}---
# {name}

A control branch and adapter on the base `{base}`, trained by stage `{stage}`. The directory is complete:
`USDiffusionPipeline.from_pretrained` needs nothing else. It contains the base's weights, so the base's licence applies.

| what | value |
|---|---|
| adapter | {adapter} |
| training timesteps | {timesteps} |
| feedback weight (FAL) | {feedback_weight} |
| trained tasks | {tasks} |
| trained beside the control branch | {unlock} of the base's U-Net |
| steps × micro-batches × items | {steps} × {gradient_accumulation_steps} × {items} |
| learning rate | {learning_rate} |
| seed | {seed} |
| data (digest of the shards) | `{data}` |
"""

BASE_TEXT = """---
library_name: diffusers
license: mit
---
# The bundled base

A tiny latent diffusion model in diffusers' layout, trained from scratch by stage `base` on the training split of
the embedded dataset ({samples} scenes of {size} pixels). At full scale, Stable Diffusion 1.5 takes its place.

| what | value |
|---|---|
| U-Net parameters | {parameters:,} |
| prediction | x̂0 (`sample`) |
| prompts | captions for images, "{prompts}" for maps |
| steps × batch | {steps} × {batch_size} |
| share of translated items, where t ≥ {translation_from} | {translation} |
| seed | {seed} |
| data (digest of the shards) | `{data}` |

Reproduce: set `frozen: false` for the stage in dvc.yaml, and run `dvc repro base`.
"""


def model_card(
    name: str, stage: str, variant: config.Variant, params: config.Train, data: str, timesteps: list[int]
) -> str:
    """The text of README.md.

    Args:
        stage: whose training it is: `train`, or one that trains a model of its own, as `control` does.
        data: digest of the shards.
        timesteps: the list that it is sampled with.
    """
    header = {"library_name": "diffusers"} | origin_of(params.base).front_matter()
    facts = asdict(params) | asdict(variant)
    listed = ", ".join(map(str, timesteps))
    facts["timesteps"] = listed if variant.timesteps == "ess" else "all, with equal probability"
    return TEXT.format(
        **facts,
        header=yaml.safe_dump(header, sort_keys=False),
        name=name,
        stage=stage,
        tasks=", ".join(task.name for task in TRAINED),
        items=params.batch_size * len(TRAINED),
        data=data,
    )


def base_card(params: config.Base, prompts: list[str], samples: int, size: int, parameters: int, data: str) -> str:
    """The text of README.md of the tiny base.

    Args:
        prompts: of the maps.
        samples: number of training scenes.
        size: side of the pictures, in pixels.
        parameters: number of the U-Net's weights.
        data: digest of the shards.
    """
    return BASE_TEXT.format(
        **asdict(params),
        prompts='", "'.join(prompts),
        samples=samples,
        size=size,
        parameters=parameters,
        data=data,
    )

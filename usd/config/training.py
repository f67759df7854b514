"""The sections on training: what all trainings share, and what each adds."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from usd.config.values import (
    EXACT,
    HUB_ID,
    Amount,
    Channels,
    Count,
    Device,
    Flag,
    Number,
    Place,
    Precision,
    Share,
    Strategy,
    Timestep,
    Timesteps,
    Whole,
)

BASELINE, OURS = VARIANTS = ("prompt_diffusion", "us_diffusion")  # in params.yaml, whatever else is there
# folders in git that stand for none, as DVC must depend on one
NO_START = "models/no_start"  # train.warm_start: each branch starts as a copy of the base
NO_NETWORKS = "models/no_networks"  # annotate.networks: maps are computed


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Optimisation:
    """What every training has: how long, how fast, on what device, and how often it reports."""

    seed: Whole
    steps: Count
    batch_size: Count
    gradient_accumulation_steps: Count
    learning_rate: Amount
    warmup: Whole
    optimizer: Literal["adamw", "adamw_8bit"]
    weight_decay: Amount
    max_grad_norm: Annotated[Number, Field(gt=0)]
    ema_decay: Annotated[Share, Field(lt=1)]
    checkpoint_every: Count
    log_every: Count
    flip: Share
    workers: Whole
    device: Device
    precision: Precision


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Annotators(Optimisation):
    """Section `annotators`: the small differentiable depth and segmentation network."""

    batch_size: Annotated[Count, Field(multiple_of=2)]
    channels: Channels
    depth_weight: Amount


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Base(Optimisation):
    """Section `base`: the tiny diffusion model that is trained here instead of Stable Diffusion."""

    patch_size: Count
    channels: Channels
    text_width: Annotated[int, Field(strict=True, ge=8, multiple_of=8)]
    translation: Share
    translation_from: Timestep
    residue: Share
    ess_steps: Timesteps
    dropout: Share
    map_weight: Amount


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Variant:
    """One entry of `variants`: which of SGA, FAL and ESS are on, and what x_t is made of."""

    adapter: Literal["separate_gather", "stacked", "query"]
    timesteps: Strategy
    feedback_weight: Amount
    self_estimates: Share

    @field_validator("self_estimates")
    @classmethod
    def _from_a_list(cls, share: float, info: ValidationInfo) -> float:
        if share and info.data.get("timesteps") == "uniform":
            raise ValueError("needs timesteps: ess, as the model's own estimates are made along the sampled list")
        return share


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Control:
    """Section `control`: the generic control branch, from which variants start; all else is as in `train`."""

    seed: Whole
    steps: Count


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Reference:
    """Section `reference`: the model that comes with the project; all else is as in `train`."""

    seed: Whole
    steps: Count
    batch_size: Count


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Train(Optimisation):
    """Section `train`: what all variants share."""

    base: Place
    warm_start: Place
    unlock: Literal["none", "decoder", "all"]
    zero_rate: Amount
    pretrained_rate: Amount
    indicator_weight: Amount
    map_weight: Amount
    dropout: Annotated[Share, Field(le=1 / 3)]
    ess_steps: Timesteps
    feedback_below: Timestep
    feedback_image2map: Amount
    adapter_channels: Annotated[Channels, Field(min_length=4)]  # a light module has three
    gradient_checkpointing: Flag
    compile: Flag
    encoded: str
    preview_every: Whole

    @field_validator("base", "warm_start")
    @classmethod
    def _no_hub_id(cls, path: str) -> str:
        if HUB_ID.fullmatch(path) and not Path(path).exists():
            folder = f"models/{path.replace('/', '--')}"
            remedy = f"run `hf download {path} --local-dir {folder}` and name that folder: docs/own-base.md"
            raise ValueError(f"{path} is not there, and DVC cannot depend on a hub id; {remedy}")
        return path

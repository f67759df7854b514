"""The sections of params.yaml: one frozen pydantic dataclass each, of the section's name.

What a key means, and its unit, stands above it in params.yaml; its type and range stand here. No field has a default:
every value is in params.yaml, where one looks for it.
"""

from dataclasses import fields
from typing import Annotated, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.dataclasses import dataclass

from usd.errors import UsdError

N = TypeVar("N", int, float)
EXACT = ConfigDict(extra="forbid")

Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Count = Annotated[int, Field(strict=True, ge=1)]
Several = Annotated[int, Field(strict=True, ge=2)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # a whole number may stand for it
Amount = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Timestep = Annotated[int, Field(strict=True, ge=0, le=999)]
Channels = Annotated[list[Annotated[int, Field(strict=True, ge=8, multiple_of=8)]], Field(min_length=1)]  # whole groups

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["no", "fp16", "bf16"]


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Paths:
    """Section `paths`: what dvc.yaml's commands and dependencies take from here."""

    scenes: Text
    photos: list[Annotated[str, Field(pattern=r"^[\w-]+$")]]
    shards: Text
    annotators: Text
    judges: Text
    launch: Text


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Render:
    """Section `render`: the embedded dataset."""

    seed: Whole
    test_seed: Whole
    image_size: Annotated[Count, Field(multiple_of=8)]
    objects: Annotated[list[Count], Field(min_length=2, max_length=2)]
    train: Count
    val: Count
    test: Count

    @field_validator("objects")
    @classmethod
    def _ordered(cls, objects: list[int]) -> list[int]:
        if objects[0] > objects[1]:
            raise ValueError(f"must be the fewest and the most objects, such as [2, 5], found {objects}")
        return objects

    @property
    def counts(self) -> dict[str, int]:
        """Scenes by split."""
        return {"train": self.train, "val": self.val, "test": self.test}


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Ingest:
    """Section `ingest`: datasets made of your own pictures."""

    layout: Literal["folder", "instruct-pix2pix"]
    seed: Whole


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Annotate:
    """Section `annotate`: the maps that are computed from the data."""

    near: Amount
    far: Amount
    canny_low: Amount
    canny_high: Amount
    outpaint_margin: Annotated[Share, Field(le=0.49)]
    networks: Text

    @field_validator("far", "canny_high")
    @classmethod
    def _above(cls, high: float, info: ValidationInfo) -> float:
        lower = {"far": "near", "canny_high": "canny_low"}[str(info.field_name)]
        return _at_least(high, lower, info, strictly=lower == "near")


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Validate:
    """Section `validate`: what the data must satisfy before it is packed."""

    min_caption: Whole
    max_caption: Count
    min_alignment: Number
    min_samples: Whole

    @field_validator("max_caption")
    @classmethod
    def _above(cls, high: int, info: ValidationInfo) -> int:
        return _at_least(high, "min_caption", info)


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Shard:
    """Section `shard`: WebDataset packing."""

    samples: Count


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Optimisation:
    """What every training has: how long, how fast, on what device, and how often it reports."""

    seed: Whole
    steps: Count
    batch_size: Count
    accumulation: Count
    learning_rate: Amount
    warmup: Whole
    optimizer: Literal["adamw", "adamw_8bit"]
    weight_decay: Amount
    max_grad_norm: Annotated[Number, Field(gt=0)]
    ema: Annotated[Share, Field(lt=1)]
    checkpoint_every: Count
    log_every: Count
    preview_every: Whole
    flip: Share
    workers: Whole
    device: Device
    precision: Precision


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Annotators(Optimisation):
    """Section `annotators`: the small differentiable depth and segmentation network."""

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
    timesteps: Annotated[Count, Field(le=999)]
    dropout: Share
    map_weight: Amount


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Variant:
    """One entry of `variants`: which of SGA, FAL and ESS are on."""

    adapter: Literal["separate_gather", "stacked"]
    timesteps: Literal["ess", "uniform"]
    feedback: Amount


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Train(Optimisation):
    """Section `train`: what all variants share."""

    base: str
    warm_start: str
    unlock: Literal["none", "decoder", "all"]
    zero_rate: Amount
    pretrained_rate: Amount
    alignment: Amount
    alignment_gain: Amount
    indicator: Amount
    map_weight: Amount
    dropout: Annotated[Share, Field(le=1 / 3)]
    ess_steps: Annotated[Count, Field(le=999)]
    feedback_below: Timestep
    adapter_channels: Channels
    gradient_checkpointing: Flag
    compile: Flag
    encoded: str


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Evaluate:
    """Section `evaluate`: the fixed test manifest, and what is chosen on validation."""

    seed: Whole
    items: Several  # a Fréchet distance needs two
    curve_items: Several
    unseen_items: Several
    validation_items: Several
    batch_size: Count
    steps: Annotated[list[Count], Field(min_length=1)]
    guidance_scales: Annotated[list[Amount], Field(min_length=1)]
    ess_steps: Several
    baseline_steps: Count
    replicates: Several
    grid_items: Count

    @field_validator("curve_items")
    @classmethod
    def _a_part(cls, count: int, info: ValidationInfo) -> int:
        if count > info.data.get("items", count):
            raise ValueError(f"must be at most evaluate.items, which is {info.data['items']}, found {count}")
        return count

    @field_validator("grid_items")
    @classmethod
    def _enough(cls, rows: int, info: ValidationInfo) -> int:
        for name in ("curve_items", "unseen_items"):
            if rows > info.data.get(name, rows):
                raise ValueError(f"{rows} rows need as many evaluate.{name}, found {info.data[name]}")
        return rows


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Benchmark:
    """Section `benchmark`: timing of both variants, interleaved."""

    seed: Whole
    batch_sizes: Annotated[list[Count], Field(min_length=1)]
    repeats: Count
    min_run_time: Amount
    baseline_steps: Count
    ess_steps: Count


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Gate:
    """Section `gate`: what `dvc repro` fails on, and targets that it only reports (docs/study.md)."""

    rmse_gain: Number
    fd_gain: Number
    adherence_gain: Number
    floor_ratio: Number
    swapped_change: Number
    speedup: Number
    target_rmse_gain: Number
    target_speedup: Number
    target_depth: Number
    target_edges: Number
    target_segments: Number
    target_miou: Share
    target_blurred: Number
    target_obeys: Share
    target_swapped: Number


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Study:
    """Section `study`: several training seeds of all variants, and of SGA, FAL and ESS removed one at a time."""

    seeds: Annotated[list[Whole], Field(min_length=1)]
    training_steps: Count
    variants: Annotated[list[str], Field(min_length=1)]
    steps: Annotated[list[Count], Field(min_length=1)]
    items: Several
    curve_items: Several


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Params:
    """params.yaml as a whole."""

    paths: Paths
    render: Render
    ingest: Ingest
    annotate: Annotate
    validate: Validate
    shard: Shard
    annotators: Annotators
    base: Base
    variants: dict[str, Variant]
    train: Train
    evaluate: Evaluate
    benchmark: Benchmark
    gate: Gate
    study: Study

    @model_validator(mode="after")
    def _variants_exist(self) -> Self:
        for name in self.study.variants:
            if name not in self.variants:
                raise ValueError(f"study.variants: '{name}' is not in variants; known: {', '.join(self.variants)}")
        return self

    def variant(self, name: str) -> Variant:
        """An entry of `variants`.

        Raises:
            UsdError: there is none of this name.
        """
        if name not in self.variants:
            raise UsdError(f"params.yaml: variants: no '{name}'; known: {', '.join(self.variants)}")
        return self.variants[name]


SECTIONS = tuple(field.name for field in fields(Params))  # in the order of params.yaml


def _at_least(high: N, lower: str, info: ValidationInfo, strictly: bool = False) -> N:
    """`high`, if it is not below the field `lower` of the same section."""
    low = info.data.get(lower)
    if low is not None and (high < low or (strictly and high == low)):  # None: it has a mistake of its own
        raise ValueError(f"must be {'more than' if strictly else 'at least'} {lower}, which is {low:g}, found {high:g}")
    return high

"""Parameters: one frozen dataclass per section of params.yaml, checked when loaded."""

import types
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import yaml

from usd.errors import UsdError

PARAMS = Path("params.yaml")
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["no", "fp16", "bf16"]


class Range(NamedTuple):
    """The values that a number may have, both ends included."""

    least: float
    most: float = inf


Count = Annotated[int, Range(1)]
Several = Annotated[int, Range(2)]
Whole = Annotated[int, Range(0)]
Amount = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class Render:
    """Section `render`: the embedded dataset."""

    seed: Whole
    image_size: Count  # pixels
    objects: list[Count]  # fewest and most objects in a scene
    train: Count  # scenes per split
    val: Count
    test: Count

    def __post_init__(self) -> None:
        if len(self.objects) != 2 or self.objects[0] > self.objects[1]:
            raise UsdError(f"params.yaml: render.objects: fewest and most, such as [2, 5], not {self.objects}")
        if self.image_size % 8:
            raise UsdError(f"params.yaml: render.image_size: {self.image_size} is no multiple of 8")

    @property
    def counts(self) -> dict[str, int]:
        """Scenes by split."""
        return {"train": self.train, "val": self.val, "test": self.test}


@dataclass(frozen=True)
class Annotate:
    """Section `annotate`: the derived maps."""

    near: Amount  # metres; this near or nearer is 1 in the depth map
    far: Amount  # metres; this far or farther is 0
    canny_low: Amount  # OpenCV thresholds
    canny_high: Amount
    outpaint_margin: Annotated[float, Range(0, 0.49)]  # share of each side that the outpainting map greys out
    networks: str  # folder of annotators that make the maps which own pictures lack; "" is none

    def __post_init__(self) -> None:
        if self.near >= self.far:
            raise UsdError(f"params.yaml: annotate.near: {self.near:g} must be less than annotate.far, {self.far:g}")


@dataclass(frozen=True)
class Validate:
    """Section `validate`: what the data must satisfy before it is packed."""

    min_caption: Whole  # characters
    max_caption: Count
    min_alignment: float  # least agreement of object boundaries and image edges beyond chance
    min_samples: Whole  # least samples in each split


@dataclass(frozen=True)
class Shard:
    """Section `shard`: WebDataset packing."""

    samples: Count  # per shard


@dataclass(frozen=True)
class Annotators:
    """Section `annotators`: the small differentiable depth and segmentation networks."""

    seed: Whole
    channels: list[Count]
    steps: Count
    batch_size: Count
    learning_rate: Amount


@dataclass(frozen=True)
class Base:
    """Section `base`: the tiny diffusion model that is trained here in the place of Stable Diffusion."""

    seed: Whole
    patch_size: Count  # pixels per latent and axis
    channels: list[Count]  # U-Net block channels
    text_width: Count
    steps: Count
    batch_size: Count
    learning_rate: Amount
    translation: Share  # share of the noisier items over which the other modality is laid
    ema: Share
    device: Device
    precision: Precision


@dataclass(frozen=True)
class Variant:
    """One entry of `variants`: which of SGA, FAL and ESS are on."""

    adapter: Literal["separate_gather", "stacked"]
    timesteps: Literal["ess", "uniform"]
    feedback: Amount  # FAL weight; 0 is off


@dataclass(frozen=True)
class Train:
    """Section `train`: what all variants share."""

    seed: Whole
    base: str  # directory or hub id in diffusers' layout
    warm_start: str  # a trained ControlNet or Prompt Diffusion to start from: see `warm_start`; "" copies the base
    unlock: Literal["none", "decoder", "all"]  # what of the base U-Net is trained beside the control branch
    steps: Count
    batch_size: Count  # items of each task, per step and process, before accumulation
    accumulation: Count
    learning_rate: Amount
    zero_rate: Amount  # times the learning rate: weights that start at zero
    pretrained_rate: Amount  # times the learning rate: what comes from the base
    alignment: Amount  # weight of the distance between SGA-Q's features and the base's own of the query; 0 is off
    warmup: Whole  # steps
    optimizer: Literal["adamw", "adamw_8bit"]  # 8 bits: a quarter of the memory for its state; needs the extra `gpu`
    weight_decay: Amount
    max_grad_norm: Amount
    ema: Share  # decay; 0 is off
    dropout: Annotated[float, Range(0, 1 / 3)]  # probability of each of: no text, no pair, neither
    ess_steps: Count
    feedback_below: Whole  # FAL acts where t is at most this
    adapter_channels: list[Count]  # SGA: light modules, then shared module
    flip: Share  # probability of a shared horizontal flip
    checkpoint_every: Count  # steps
    preview_every: Whole  # 0 is never
    log_every: Count
    workers: Whole  # data loading processes
    device: Device
    precision: Precision
    gradient_checkpointing: bool  # less memory for a third more time
    encoder_cache: Amount  # GB of memory for VAE latents and text states; 0 computes them at every step


@dataclass(frozen=True)
class Evaluate:
    """Section `evaluate`: the fixed test manifest and what is chosen on validation."""

    seed: Whole
    items: Several  # test items per trained task; a Fréchet distance needs two
    unseen_items: Several  # test items per unseen task
    validation_items: Several  # validation items per task
    batch_size: Count
    guidance_scales: list[Amount]  # candidates
    ess_steps: list[Count]  # candidates per direction; 10 is always reported
    baseline_steps: Count  # DDIM steps of the baseline; 10 are reported beside
    grid_items: Count  # rows of each picture

    def __post_init__(self) -> None:
        if self.grid_items > min(self.items, self.unseen_items):
            raise UsdError(
                f"params.yaml: evaluate.grid_items: {self.grid_items} rows need as many items and unseen_items, "
                f"not {self.items} and {self.unseen_items}"
            )


@dataclass(frozen=True)
class Benchmark:
    """Section `benchmark`: timing of both variants, interleaved."""

    seed: Whole
    batch_sizes: list[Count]
    repeats: Count
    min_run_time: Amount  # seconds a variant is timed for in each repeat, at least one call
    baseline_steps: Count
    ess_steps: Count


@dataclass(frozen=True)
class Gate:
    """Section `gate`: thresholds on the metrics."""

    rmse_gain: float  # least baseline − US-Diffusion, mean RMSE of the trained Image2Map tasks
    floor_ratio: float  # most RMSE / floor, each trained Image2Map task
    fd_gain: float  # least baseline − US-Diffusion, mean Fréchet distance
    adherence_gain: float  # least baseline − US-Diffusion, mean adherence RMSE
    speedup: float  # least end-to-end speedup
    swapped_change: float  # least RMSE between the outputs for the right and a swapped pair


@dataclass(frozen=True)
class Ablation:
    """Section `ablation`: SGA, FAL and ESS removed one at a time."""

    seeds: list[Whole]
    steps: Count
    variants: list[str]


@dataclass(frozen=True)
class Params:
    """params.yaml as a whole."""

    render: Render
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
    ablation: Ablation

    def variant(self, name: str) -> Variant:
        """An entry of `variants`."""
        if name not in self.variants:
            raise UsdError(f"params.yaml: variants has no '{name}'; known: {', '.join(self.variants)}")
        return self.variants[name]


T = TypeVar("T")


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        UsdError: the file, a section or a key is missing, unknown, of the wrong type or out of range.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UsdError(f"{path}: not found; run from the project's root") from None
    except yaml.YAMLError as error:
        raise UsdError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return build(Params, values, str(path))


def build(cls: type[T], values: Any, where: str) -> T:
    """Make the dataclass `cls` of a mapping, naming `where` in every complaint."""
    if not isinstance(values, dict):
        raise UsdError(f"{where}: expected a mapping, found {values!r}")
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UsdError(f"{where}: unknown key '{key}'; known: {', '.join(known)}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise UsdError(f"{where}: key '{name}' is missing")
    hints = typing.get_type_hints(cls, include_extras=True)
    return cls(**{key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint`, or an error; an int may stand for a float, nothing else is converted."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        value, bounds = _convert(arguments[0], value, where), arguments[1]
        if not bounds.least <= value <= bounds.most:
            most = "" if bounds.most == inf else f" and at most {bounds.most:g}"
            raise UsdError(f"{where}: {value} is out of range; at least {bounds.least:g}{most}")
        return value
    if is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin is Literal:
        if value not in arguments:
            raise UsdError(f"{where}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is list and isinstance(value, list):
        if not value:
            raise UsdError(f"{where}: the list is empty")
        return [_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
    expected = origin or hint
    if expected is float and type(value) is int:
        return float(value)
    if isinstance(expected, types.UnionType) or type(value) is not expected:
        raise UsdError(f"{where}: expected {getattr(expected, '__name__', expected)}, found {value!r}")
    return value

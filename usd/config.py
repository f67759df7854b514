"""Parameters: one frozen dataclass per section of params.yaml, checked when loaded."""

import types
import typing
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from usd.errors import UsdError

PARAMS = Path("params.yaml")
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Render:
    """Section `render`: the embedded dataset."""

    seed: int
    image_size: int  # pixels
    objects: list[int]  # fewest and most objects in a scene
    train: int  # scenes per split
    val: int
    test: int

    def __post_init__(self) -> None:
        if len(self.objects) != 2 or not 0 < self.objects[0] <= self.objects[1]:
            raise UsdError(f"params.yaml: render.objects: fewest and most, such as [2, 5], not {self.objects}")

    @property
    def counts(self) -> dict[str, int]:
        """Scenes by split."""
        return {"train": self.train, "val": self.val, "test": self.test}


@dataclass(frozen=True)
class Annotate:
    """Section `annotate`: the derived maps."""

    near: float  # metres; this near or nearer is 1 in the depth map
    far: float  # metres; this far or farther is 0
    canny_low: float  # OpenCV thresholds
    canny_high: float
    outpaint_margin: float  # share of each side that the outpainting map greys out
    networks: str  # folder of annotators that make the maps which own pictures lack; "" is none


@dataclass(frozen=True)
class Validate:
    """Section `validate`: what the data must satisfy before it is packed."""

    min_caption: int  # characters
    max_caption: int
    min_alignment: float  # least agreement of object boundaries and image edges beyond chance
    min_samples: int  # least samples in each split


@dataclass(frozen=True)
class Shard:
    """Section `shard`: WebDataset packing."""

    samples: int  # per shard


@dataclass(frozen=True)
class Annotators:
    """Section `annotators`: the small differentiable depth and segmentation networks."""

    seed: int
    channels: list[int]
    steps: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True)
class Base:
    """Section `base`: the tiny diffusion model that is trained here in the place of Stable Diffusion."""

    seed: int
    patch_size: int  # pixels per latent and axis
    channels: list[int]  # U-Net block channels
    text_width: int
    steps: int
    batch_size: int
    learning_rate: float
    translation: float  # share of the noisier items over which the other modality is laid
    ema: float
    device: Device
    precision: Literal["no", "fp16", "bf16"]


@dataclass(frozen=True)
class Variant:
    """One entry of `train.variants`: which of SGA, FAL and ESS are on."""

    adapter: Literal["separate_gather", "stacked"]
    timesteps: Literal["ess", "uniform"]
    feedback: float  # FAL weight; 0 is off


@dataclass(frozen=True)
class Train:
    """Section `train`: what all variants share, and the variants."""

    seed: int
    base: str  # directory or hub id in diffusers' layout
    warm_start: str  # a trained ControlNet or Prompt Diffusion to start from: see `warm_start`; "" copies the base
    unlock: Literal["none", "decoder", "all"]  # what of the base U-Net is trained beside the control branch
    steps: int
    batch_size: int  # items of each task, per step and process, before accumulation
    accumulation: int
    learning_rate: float
    zero_rate: float  # times the learning rate: weights that start at zero
    pretrained_rate: float  # times the learning rate: what comes from the base
    alignment: float  # weight of the distance between SGA-Q's features and the base's own of the query; 0 is off
    warmup: int  # steps
    optimizer: Literal["adamw", "adamw_8bit"]  # 8 bits: a quarter of the memory for its state; needs the extra `gpu`
    weight_decay: float
    max_grad_norm: float
    ema: float  # decay; 0 is off
    dropout: float  # probability of each of: no text, no pair, neither
    ess_steps: int
    feedback_below: int  # FAL acts where t is at most this
    adapter_channels: list[int]  # SGA: light modules, then shared module
    flip: float  # probability of a shared horizontal flip
    checkpoint_every: int  # steps
    preview_every: int
    log_every: int
    workers: int  # data loading processes
    device: Device
    precision: Literal["no", "fp16", "bf16"]
    gradient_checkpointing: bool  # less memory for a third more time
    encoder_cache: float  # GB of memory for VAE latents and text states; 0 computes them at every step
    variants: dict[str, Variant]

    def variant(self, name: str) -> Variant:
        """An entry of `variants`."""
        if name not in self.variants:
            raise UsdError(f"params.yaml: train.variants has no '{name}'; known: {', '.join(self.variants)}")
        return self.variants[name]


@dataclass(frozen=True)
class Evaluate:
    """Section `evaluate`: the fixed test manifest and what is chosen on validation."""

    seed: int
    items: int  # test items per trained task
    unseen_items: int  # test items per unseen task
    validation_items: int  # validation items per task
    batch_size: int
    guidance_scales: list[float]  # candidates
    ess_steps: list[int]  # candidates per direction; 10 is always reported
    baseline_steps: list[int]  # DDIM steps of the baseline; the first is the headline
    grid_items: int  # rows of each picture


@dataclass(frozen=True)
class Benchmark:
    """Section `benchmark`: timing of both variants, interleaved."""

    seed: int
    batch_sizes: list[int]
    repeats: int
    baseline_steps: int
    ess_steps: int


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

    seeds: list[int]
    steps: int
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
    train: Train
    evaluate: Evaluate
    benchmark: Benchmark
    gate: Gate
    ablation: Ablation


T = TypeVar("T")


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        UsdError: the file, a section or a key is missing, unknown or of the wrong type.
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
    hints = typing.get_type_hints(cls)
    return cls(**{key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint`, or an error; an int may stand for a float, nothing else is converted."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin is Literal:
        if value not in arguments:
            raise UsdError(f"{where}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is dict and isinstance(value, dict):
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is list and isinstance(value, list):
        return [_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
    expected = origin or hint
    if expected is float and type(value) is int:
        return float(value)
    if isinstance(expected, types.UnionType) or type(value) is not expected:
        raise UsdError(f"{where}: expected {getattr(expected, '__name__', expected)}, found {value!r}")
    return value

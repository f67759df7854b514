"""The sections on data: where they are, how they are made, checked and packed."""

from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from usd.config.values import (
    EXACT,
    LARGEST,
    Amount,
    Count,
    Distinct,
    Layout,
    Local,
    Number,
    Place,
    Share,
    Text,
    Whole,
    at_least,
)

FOLDER = r"\w[\w-]*"  # the name of a folder of your own pictures
TAKEN = ("annotated", "examples", "scenes", "shards")  # what else lies in data/
KINDS = 20  # of objects: as many as `usd.data.classes.OBJECTS` names
LARGEST_SIDE = 4096  # pixels; a picture of much more would fill the memory

SceneSeed = Annotated[Whole, Field(le=LARGEST // 10**9 - 1)]  # 10⁹ scenes each, whose seeds are 64-bit numbers
Scenes = Annotated[Count, Field(le=10**7)]  # in a split; the list of more would fill the memory
Gradient = Annotated[Amount, Field(le=2**31 - 1)]  # OpenCV's whole numbers


def free_name(name: str) -> str:
    """The name of a folder of your own pictures, of which stage `ingest` makes data/NAME.

    Raises:
        ValueError: the pipeline keeps something else there.
    """
    if name in TAKEN:
        raise ValueError(f"data/{name} is the pipeline's own; rename your folder {name}")
    return name


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Paths:
    """Section `paths`: what dvc.yaml's commands and dependencies take from here."""

    scenes: Annotated[Place, Local]
    photos: Annotated[list[Annotated[str, Field(pattern=f"^{FOLDER}$"), AfterValidator(free_name)]], Distinct]
    shards: Place
    annotators: Annotated[Place, Local]
    judges: Annotated[Place, Local]
    launch: Text

    @field_validator("shards")
    @classmethod
    def _apart(cls, shards: str, info: ValidationInfo) -> str:
        if PurePath(shards) == PurePath(info.data.get("scenes", "")):
            raise ValueError(f"must not be the folder of paths.scenes, such as data/shards, found {shards!r}")
        return shards


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Render:
    """Section `render`: the embedded dataset."""

    seed: SceneSeed
    test_seed: SceneSeed
    image_size: Annotated[int, Field(strict=True, ge=16, multiple_of=8, le=LARGEST_SIDE)]
    objects: Annotated[list[Annotated[Count, Field(le=KINDS)]], Field(min_length=2, max_length=2)]
    train: Scenes
    val: Scenes
    test: Scenes

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

    layout: Layout
    seed: Whole


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Annotate:
    """Section `annotate`: the maps that are computed from the data."""

    near: Annotated[Number, Field(ge=0.001)]  # depth is in whole millimetres
    far: Amount
    canny_low: Gradient
    canny_high: Gradient
    outpaint_margin: Annotated[Share, Field(le=0.49)]
    networks: Annotated[Text, Local]

    @field_validator("far", "canny_high")
    @classmethod
    def _above(cls, high: float, info: ValidationInfo) -> float:
        lower = {"far": "near", "canny_high": "canny_low"}[str(info.field_name)]
        return at_least(high, lower, info, strictly=lower == "near")


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Validate:
    """Section `validate`: what the data must satisfy before it is packed."""

    min_caption: Whole
    max_caption: Count
    min_alignment: Annotated[Number, Field(le=1)]
    max_misfits: Share
    max_flat: Share
    min_samples: Whole

    @field_validator("max_caption")
    @classmethod
    def _above(cls, high: int, info: ValidationInfo) -> int:
        return at_least(high, "min_caption", info)


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Shard:
    """Section `shard`: WebDataset packing."""

    samples: Count

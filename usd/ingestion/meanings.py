"""What the values of your own maps mean: declared in a YAML file, or detected.

The file is maps.yaml beside the pictures, or the one that `usd ingest --maps` names.

Every key is optional; what is not declared is detected where the file itself settles it and refused where it does not.

    depth: {kind: depth, unit: mm, near: 0.5, far: 10}    # metres; also unit: 1/5000, kind: disparity or inverse
    seg: {kind: ids, void: 255, classes: {7: duck, 15: "#c08040"}}
    hed: {bright: flat}
    normal: {y: down}
    orientation: stored    # maps were made from the stored pixels of photographs with an EXIF orientation
    condition: hed         # what ControlNet's source/, or a column conditioning_image, holds; none leaves it out
    folders: {A: image, B: seg}    # what folders with names of your own hold; none leaves one out
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from usd.config.loading import parse_yaml
from usd.data.classes import CLASSES
from usd.errors import UsdError
from usd.ingestion import colormaps
from usd.ingestion.words import spelt

RGB = re.compile("#[0-9a-fA-F]{6}")
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


def _number(value: object) -> object:
    """Numbers as they are, and "1/5000"."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value))
        except (ValueError, ZeroDivisionError, OverflowError):
            return value
    return value


def _class_value(value: object) -> object:
    """A class map's value: an id, or #rrggbb."""
    if isinstance(value, bool | float) or (isinstance(value, int) and not 0 <= value <= 255):
        raise ValueError(f"class id {str(value).lower()} is not an integer from 0 to 255")
    if isinstance(value, str) and not RGB.fullmatch(value):
        raise ValueError(f"{value!r} is neither an id nor #rrggbb")
    return value


def _void(value: object) -> object:
    return value if value in ("auto", "none") else _class_value(value)


def _class_values(value: object) -> object:
    """The classes, if none is there twice."""
    if isinstance(value, Mapping) and len({str(key).lower() for key in value}) < len(value):
        raise ValueError("two keys are one colour, as letter case does not matter; keep one")
    return value


def _colormap(value: object) -> object:
    if value is not None and value not in colormaps.NAMES:
        raise ValueError(f"{value!r} is not one of {', '.join(colormaps.NAMES)}")
    return value


def _class_name(value: object) -> object:
    """What a class map's value means: a class of the project, or its colour."""
    if isinstance(value, str) and value not in CLASSES and not RGB.fullmatch(value):
        raise ValueError(f"{value!r} is neither #rrggbb nor a class: {', '.join(CLASSES)}")
    return value


def _folder_names(value: object) -> object:
    """The names of folders, without a slash at the end."""
    if not isinstance(value, Mapping):
        return value
    if numbers := [name for name in value if not isinstance(name, str)]:
        raise ValueError(f"{numbers[0]} is not text; put the folder's whole name in quotes")
    found = {name.rstrip("/"): field for name, field in value.items()}
    if len({spelt(name) for name in found}) < len(value):
        raise ValueError("two keys are one name, as letter case and separators do not matter; keep one")
    return found


ClassValue = Annotated[int | str, BeforeValidator(_class_value)]
ClassName = Annotated[str, BeforeValidator(_class_name)]
FolderField = Literal["image", "depth", "hed", "seg", "normal", "none"]


class _Meaning(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Depth(_Meaning):
    """Depth maps: how a value becomes the record's inverse depth, 0 far and 1 near."""

    kind: Literal["inverse", "disparity", "depth"] = "inverse"
    unit: Annotated[Literal["m", "cm", "mm", "relative"] | Positive, BeforeValidator(_number)] = "relative"
    near: Positive | None = None  # becomes 1: metres of depth, pixels of disparity, else a value of the file
    far: Annotated[float, Field(ge=0)] | None = None  # becomes 0
    missing: float | Literal["auto", "none"] = "auto"  # no reading; nor is 0 or less where values are measured
    most_missing: Share = 0.5  # a map that lacks more is refused
    colormap: Annotated[str | None, BeforeValidator(_colormap)] = None  # the maps are coloured with it

    @property
    def scaled(self) -> bool:
        """Whether it is declared how values of any range become inverse depth: not by `kind: depth` alone."""
        told = self.model_fields_set
        ends = self.bounded or self.colormap is not None
        return ends or ("kind" in told and (self.kind == "inverse" or "unit" in told))

    @property
    def bounded(self) -> bool:
        """Whether it is declared which values become 1 and 0; else the file's type says so."""
        return (self.far if self.kind == "depth" else self.near) is not None

    @property
    def metric(self) -> bool:
        """Whether values are metres of depth."""
        return self.kind == "depth" and self.unit != "relative"

    @property
    def scale(self) -> float:
        """Metres or pixels that a value of 1 stands for."""
        return METRES.get(self.unit, 1.0) if isinstance(self.unit, str) else self.unit

    @property
    def measured(self) -> bool:
        """Whether values are measured, so that there are none of 0 or less."""
        return self.metric or self.kind == "disparity"

    @property
    def gap(self) -> float | None:
        """The value that is declared to be no reading."""
        return None if isinstance(self.missing, str) else float(self.missing)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "inverse" and self.unit != "relative":
            raise ValueError("unit: inverse depth has none; say what it is of, with kind: depth or kind: disparity")
        if self.metric and (self.near is None or self.far is None or self.near >= self.far):
            raise ValueError("kind: depth with a unit needs near and far in metres, near less than far")
        if self.kind == "disparity" and (self.near is None or self.near <= (self.far or 0)):
            raise ValueError("kind: disparity needs near, the disparity that becomes 1, more than far (else 0)")
        if self.kind == "inverse" and self.near is not None and self.near <= (self.far or 0):
            raise ValueError("kind: inverse: near, the value that becomes 1, must be more than far")
        fits = "unit" in self.model_fields_set and (self.near or 0) < (self.far or 0)
        if self.kind == "depth" and self.unit == "relative" and (self.near, self.far) != (None, None) and not fits:
            raise ValueError("kind: depth: near and far need a unit, such as mm or relative, and near less than far")
        return self

    def __str__(self) -> str:
        ends = f", near {self.near or 0:g}, far {self.far or 0:g}" if self.bounded else ""
        unit = "" if self.unit == "relative" else f" in {self.unit if isinstance(self.unit, str) else f'{self.unit:g}'}"
        return f"{self.kind}{unit}{ends}" + (f", coloured with {self.colormap}" if self.colormap else "")


class Segmentation(_Meaning):
    """Class maps: ids or colours, which of them are void, and the classes that they mean."""

    kind: Literal["auto", "ids", "colours"] = "auto"
    void: Annotated[int | str, BeforeValidator(_void)] = "auto"  # id, #rrggbb, auto or none; it takes the class beside
    classes: Annotated[
        Annotated[Mapping[ClassValue, ClassName], Field(min_length=1)] | None, BeforeValidator(_class_values)
    ] = None
    most_missing: Share = 0.5  # a map with more void is refused

    def __str__(self) -> str:
        void = "" if self.void in ("auto", "none") else f", void {self.void}"
        return f"class {self.kind}{void}" + (f", {len(self.classes)} classes declared" if self.classes else "")


class Settled(Segmentation):
    """The one meaning of all class maps of a source: as declared, the rest as the files themselves settle it."""

    declared: Segmentation


class SoftEdges(_Meaning):
    """Soft edges: what is bright in them."""

    bright: Literal["edges", "flat"] = "edges"

    def __str__(self) -> str:
        return f"bright is {self.bright}"


class Normals(_Meaning):
    """Normals: where the green channel points."""

    y: Literal["up", "down"] = "up"

    def __str__(self) -> str:
        return f"y {self.y}"


class Maps(_Meaning):
    """The meaning of all maps of a source; None is not declared."""

    depth: Depth | None = None
    seg: Segmentation | None = None
    hed: SoftEdges | None = None
    normal: Normals | None = None
    orientation: Literal["stored", "upright"] | None = None
    condition: Literal["depth", "hed", "seg", "normal", "none"] | None = None
    folders: Annotated[Mapping[str, FolderField], BeforeValidator(_folder_names)] = {}

    def describe(self, field: str) -> str:
        """The meaning of a field, and how it is known."""
        meanings = {"depth": self.depth, "seg": self.seg, "hed": self.hed, "normal": self.normal}
        defaults = {"depth": Depth(), "seg": Segmentation(), "hed": SoftEdges(), "normal": Normals()}
        if field not in meanings:
            return "colours as stored"
        found = meanings[field]
        if found is None:
            return f"{defaults[field]} (assumed)"
        detected = isinstance(found, Settled) and found.declared == Segmentation()
        return f"{found} ({'detected' if detected else 'declared'})"


def rgb(text: str) -> tuple[int, int, int]:
    """The colour #rrggbb."""
    value = int(text.removeprefix("#"), 16)
    return value >> 16, value >> 8 & 255, value & 255


def read_maps(path: Path | None) -> Maps:
    """The declarations in a YAML file; none if there is no file.

    Raises:
        UsdError: the file is missing or not in its form; all mistakes are named.
    """
    if path is None:
        return Maps()
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"), str(path))
        return Maps.model_validate({} if values is None else values)
    except OSError as error:
        raise UsdError(f"{path}: not readable: {error.strerror}; --maps takes a YAML file") from error
    except UnicodeDecodeError as error:
        raise UsdError(f"{path}: not valid YAML: {error}") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()]
        raise UsdError(f"{path}: {'; '.join(faults)}; see docs/own-data.md") from error

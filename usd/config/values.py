"""The kinds of value that params.yaml may hold, with their ranges."""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo

N = TypeVar("N", int, float)
T = TypeVar("T")
HUB_ID = re.compile(r"(?!(models|results|data)/)[\w-][\w.-]*/[\w.-]+")  # owner/name, and no folder of this project
EXACT = ConfigDict(extra="forbid")
LARGEST = 2**63 - 1  # a seed of PyTorch

Flag = Annotated[bool, Field(strict=True)]
Whole = Annotated[int, Field(strict=True, ge=0, le=LARGEST)]
Count = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
Several = Annotated[int, Field(strict=True, ge=2, le=LARGEST)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # a whole number may stand for it
Amount = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
READ_BY_SHELLS = re.compile(r"""[\s'"\\$`&;|<>()*?\[\]{}#]""")
Timestep = Annotated[int, Field(strict=True, ge=0, le=999)]
Timesteps = Annotated[Count, Field(le=999)]  # how many: see `usd.diffusion.timesteps`
Channels = Annotated[list[Annotated[int, Field(strict=True, ge=8, multiple_of=8)]], Field(min_length=1)]  # whole groups


def distinct(values: list[T]) -> list[T]:
    """The list, if no value is in it twice."""
    if twice := [value for place, value in enumerate(values) if value in values[:place]]:
        raise ValueError(f"must name each value once, found {twice[0]} again")
    return values


Distinct = AfterValidator(distinct)
Tried = Annotated[list[Annotated[Count, Field(le=998)]], Field(min_length=1), Distinct]  # ESS leaves out one more


def not_blank(text: str) -> str:
    """The text, if there is one."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(not_blank)]


def one_argument(path: str) -> str:
    """The path, if dvc.yaml's commands hand it on as one argument."""
    if found := READ_BY_SHELLS.search(path):
        raise ValueError(f"must not contain {found[0]!r}, which a shell would interpret; rename the folder {path!r}")
    return path


Place = Annotated[Text, AfterValidator(one_argument)]  # a folder or URL that stands in dvc.yaml's commands


def on_this_machine(path: str) -> str:
    """The path, if it is not a URL."""
    if "://" in path:
        remedy = "download it and name the folder; only paths.shards may be a URL"
        raise ValueError(f"must be a folder on this machine, found {path!r}; {remedy}")
    return path


Local = AfterValidator(on_this_machine)

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["no", "fp16", "bf16"]
Layout = Literal["folder", "instruct-pix2pix"]  # of your own pictures: see `usd.ingestion.sources.LAYOUTS`
Strategy = Literal["ess", "uniform"]  # how timesteps are spread: see `usd.diffusion.timesteps`


def at_least(high: N, lower: str, info: ValidationInfo, strictly: bool = False) -> N:
    """`high`, if it is not below the field `lower` of the same section."""
    low = info.data.get(lower)
    if low is not None and (high < low or (strictly and high == low)):  # None: it has a mistake of its own
        raise ValueError(f"must be {'more than' if strictly else 'at least'} {lower}, which is {low:g}, found {high:g}")
    return high

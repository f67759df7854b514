"""The kinds of value that params.yaml may hold, with their ranges."""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationInfo

N = TypeVar("N", int, float)
HUB_ID = re.compile(r"(?!(models|results|data)/)[\w-][\w.-]*/[\w.-]+")  # owner/name, and no folder of this project
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


def at_least(high: N, lower: str, info: ValidationInfo, strictly: bool = False) -> N:
    """`high`, if it is not below the field `lower` of the same section."""
    low = info.data.get(lower)
    if low is not None and (high < low or (strictly and high == low)):  # None: it has a mistake of its own
        raise ValueError(f"must be {'more than' if strictly else 'at least'} {lower}, which is {low:g}, found {high:g}")
    return high

"""The sections on results: evaluation, timing, the gate and the study."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from usd.config.values import (
    EXACT,
    Amount,
    Count,
    Distinct,
    Number,
    Several,
    Share,
    Timesteps,
    Tried,
    Whole,
)


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Evaluate:
    """Section `evaluate`: the fixed test manifest, and what is chosen on validation."""

    seed: Whole
    items: Several  # a Fréchet distance needs two
    curve_items: Several
    unseen_items: Several
    validation_items: Several
    batch_size: Count
    step_counts: Tried
    guidance_scales: Annotated[list[Annotated[Number, Field(ge=1)]], Field(min_length=1), Distinct]
    baseline_steps: Timesteps
    replicates: Several
    grid_items: Count

    @field_validator("curve_items")
    @classmethod
    def _a_part(cls, count: int, info: ValidationInfo) -> int:
        return _at_most("evaluate.items", count, info.data.get("items"))

    @field_validator("guidance_scales")
    @classmethod
    def _off_too(cls, scales: list[float]) -> list[float]:
        if 1 not in scales:
            raise ValueError(f"must have 1.0, which switches guidance off, found {scales}")
        return scales

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
    batch_sizes: Annotated[list[Count], Field(min_length=1), Distinct]
    repeats: Count
    min_run_time: Amount


@dataclass(frozen=True, kw_only=True, config=EXACT)
class Gate:
    """Section `gate`: what `dvc repro` fails on, and targets that it only reports (docs/study.md)."""

    rmse_gain: Number
    fd_gain: Number
    adherence_gain: Number
    floor_ratio: Number
    obeys: Share
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
    """Section `study`: variants, each trained with several seeds and compared."""

    seeds: Annotated[list[Whole], Field(min_length=1), Distinct]
    steps: Count
    variants: Annotated[list[str], Field(min_length=1), Distinct]
    step_counts: Tried
    items: Several
    curve_items: Several

    @field_validator("curve_items")
    @classmethod
    def _a_part(cls, count: int, info: ValidationInfo) -> int:
        return _at_most("study.items", count, info.data.get("items"))


def _at_most(key: str, count: int, most: int | None) -> int:
    """The count, which may be no larger than that of another key; `most` is None where that is wrong itself."""
    if most is not None and count > most:
        raise ValueError(f"must be at most {key}, which is {most}, found {count}")
    return count

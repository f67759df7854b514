"""The sections of params.yaml: one frozen pydantic dataclass each, of the section's name.

What a key means, and its unit, stands above it in params.yaml; its type and range stand here. No field has a default:
every value is in params.yaml, where one looks for it.
"""

from typing import Self

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from usd.config.data import Annotate, Ingest, Paths, Render, Shard, Validate
from usd.config.results import Benchmark, Evaluate, Gate, Study
from usd.config.training import VARIANTS, Annotators, Base, Control, Reference, Train, Variant
from usd.config.values import EXACT
from usd.errors import UsdError


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
    control: Control
    train: Train
    evaluate: Evaluate
    benchmark: Benchmark
    gate: Gate
    study: Study
    reference: Reference

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name in self.study.variants:
            if name not in self.variants:
                raise ValueError(f"study.variants: '{name}' is not in variants; known: {', '.join(self.variants)}")
        for name in VARIANTS:
            if name not in self.study.variants:
                raise ValueError(f"study.variants: must have {' and '.join(VARIANTS)}, found {self.study.variants}")
        if self.study.curve_items < self.evaluate.grid_items:
            rows = f"{self.evaluate.grid_items} rows of evaluate.grid_items"
            raise ValueError(f"study.curve_items: {rows} need as many, found {self.study.curve_items}")
        size, patch = self.render.image_size, self.base.patch_size
        if size % patch or patch & (patch - 1):  # the adapter halves its pictures down to the latents' side
            wanted = f"a power of two that divides render.image_size, which is {size}"
            raise ValueError(f"base.patch_size: must be {wanted}, found {patch}")
        _check_halvings("base.channels", self.base.channels, size // patch)
        _check_halvings("annotators.channels", self.annotators.channels, size // 2)
        return self

    def variant(self, name: str) -> Variant:
        """An entry of `variants`.

        Raises:
            UsdError: there is none of this name.
        """
        if name not in self.variants:
            raise UsdError(f"params.yaml: variants: no '{name}'; known: {', '.join(self.variants)}")
        return self.variants[name]


def _check_halvings(key: str, channels: list[int], side: int) -> None:
    """A network halves its input's side between each two of its widths, and doubles it again on the way back."""
    most = (side & -side).bit_length()
    if len(channels) > most:
        raise ValueError(f"{key}: at most {most} widths, as the network halves {side} between them, found {channels}")

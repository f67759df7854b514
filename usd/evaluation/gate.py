"""The gate: which thresholds of params.yaml the results meet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from usd.config import Gate
from usd.files import read_json

VARIANTS = ("prompt_diffusion", "us_diffusion")


@dataclass(frozen=True)
class Check:
    """One expectation on the metrics."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def passed(self) -> bool:
        """NaN passes nothing."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def bound(self) -> str:
        """The threshold in words."""
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


def read_metrics(results: Path) -> dict[str, dict[str, Any]]:
    """Metrics by variant.

    Raises:
        UsdError: a file is missing or unreadable.
    """
    return {name: read_json(results / name / "metrics.json") for name in VARIANTS}


def mean(metrics: dict[str, Any], direction: str, name: str) -> float:
    """The mean of a metric over the trained tasks that have it."""
    return float(np.mean([scores[name] for scores in metrics[direction].values() if name in scores]))


def judge(metrics: dict[str, dict[str, Any]], benchmark: dict[str, Any], gate: Gate) -> list[Check]:
    """All checks, passed or not."""
    speed = Check("end-to-end speedup, ESS-10 over 100 DDIM steps", benchmark["speedup_end_to_end"], least=gate.speedup)
    return [*judge_quality(metrics, gate), speed]


def judge_quality(metrics: dict[str, dict[str, Any]], gate: Gate) -> list[Check]:
    """The checks on what `read_metrics` reads, which is the same in every run, as timings are not."""
    baseline, ours = metrics["prompt_diffusion"], metrics["us_diffusion"]

    def gain(direction: str, name: str) -> float:
        return round(mean(baseline, direction, name) - mean(ours, direction, name), 5)

    return [
        Check("mean RMSE, baseline − US-Diffusion", gain("image2map", "rmse"), least=gate.rmse_gain),
        *(
            Check(f"{task} RMSE / floor", scores["floor_ratio"], most=gate.floor_ratio)
            for task, scores in ours["image2map"].items()
        ),
        Check("mean Fréchet distance, baseline − US-Diffusion", gain("map2image", "fd"), least=gate.fd_gain),
        Check(
            "mean adherence RMSE, baseline − US-Diffusion",
            gain("map2image", "adherence_rmse"),
            least=gate.adherence_gain,
        ),
        *(
            Check(
                f"{direction} {task}: change with a swapped pair",
                scores["swapped_pair_change"],
                least=gate.swapped_change,
            )
            for direction in ("image2map", "map2image")
            for task, scores in ours[direction].items()
        ),
    ]

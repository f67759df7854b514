"""The gate: what one short run can honestly show. docs/study.md says why each threshold has its value."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from usd.config import Gate
from usd.config.training import BASELINE, OURS
from usd.reporting.words import named
from usd.tasks import DIRECTIONS

SPEEDUP = "end-to-end speedup of ESS over the baseline's DDIM steps, both without guidance"


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


def mean(metrics: dict[str, Any], direction: str, name: str) -> float:
    """The mean of a metric over the tasks of a direction that have it; NaN if none has."""
    found = [scores[name] for scores in metrics[direction].values() if name in scores]
    return float(np.mean(found)) if found else float("nan")


def judge(metrics: dict[str, dict[str, Any]], benchmark: dict[str, Any], gate: Gate) -> list[Check]:
    """All checks, passed or not, on metrics by variant."""
    speed = Check(SPEEDUP, benchmark["speedup_end_to_end"], least=gate.speedup)
    return [*judge_quality(metrics, gate), speed]


def judge_quality(metrics: dict[str, dict[str, Any]], gate: Gate) -> list[Check]:
    """The checks on the metrics, which are the same in every run, as timings are not."""
    ours = metrics[OURS]
    paper = {name: next(iter(each["paper"].values())) for name, each in metrics.items()}

    def gain(direction: str, metric: str, least: float) -> Check:
        difference = mean(paper[BASELINE], direction, metric) - mean(paper[OURS], direction, metric)
        name = f"paper's row: mean {named(metric)}, Prompt Diffusion − US-Diffusion"
        return Check(name, round(difference, 5), least=least)

    moved = [scores["swapped_pair_change"] for direction in DIRECTIONS for scores in ours[direction].values()]
    return [
        gain("image2map", "rmse", gate.rmse_gain),
        gain("map2image", "fd", gate.fd_gain),
        gain("map2image", "adherence_rmse", gate.adherence_gain),
        *(
            Check(f"{named(name)} {named('floor_ratio')}", scores["floor_ratio"], most=gate.floor_ratio)
            for name, scores in ours["image2map"].items()
        ),
        Check("minimum share of a task's items that obey the pair", ours["obeys"], least=gate.obeys),
        Check("minimum change of the output with another task's pair", float(np.min(moved)), least=gate.swapped_change),
    ]

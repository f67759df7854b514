"""Differences between two sets of answers to the same items, each with a paired bootstrap interval."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from usd.config.training import BASELINE, OURS
from usd.evaluation.bootstrap import Interval, interval
from usd.evaluation.files import Results, read_replicates, read_results
from usd.evaluation.names import BASE_ALONE, CONTROL_ALONE, TRIVIAL
from usd.files import read_json
from usd.reporting.words import number
from usd.tasks import TASKS, TRAINED, Direction

METRICS: tuple[tuple[Direction, str], ...] = (
    ("image2map", "rmse"),
    ("map2image", "fd"),
    ("map2image", "adherence_rmse"),
)


@dataclass(frozen=True)
class Comparison:
    """Both variants and the yardsticks, as they lie below `results`."""

    baseline: Results
    ours: Results
    yardsticks: pd.DataFrame  # name, task, items and metrics
    yardstick_replicates: dict[str, np.ndarray]  # "name/task/metric" → (R,)

    @classmethod
    def read(cls, results: Path) -> "Comparison":
        """Read the outputs of the stages `evaluate` and `yardsticks`.

        Raises:
            UsdError: a file is missing or unreadable.
        """
        folder = results / "yardsticks"
        return cls(
            read_results(results / BASELINE),
            read_results(results / OURS),
            pd.DataFrame(read_json(folder / "yardsticks.json")),
            read_replicates(folder / "bootstrap.csv"),
        )

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """metrics.json by variant."""
        return {BASELINE: self.baseline.metrics, OURS: self.ours.metrics}

    @property
    def budgets(self) -> list[int]:
        """Numbers of evaluations at which both variants were measured."""
        rows = set(self.ours.curve["row"]) & set(self.baseline.curve["row"])
        return sorted(int(row) for row in rows if row.isdigit())

    def between(self, row: str, direction: Direction, metric: str, without: str = "") -> Interval | None:
        """US-Diffusion − Prompt Diffusion in one row, the mean over the trained tasks; None if it was not measured.

        `without` is a map that is left out.
        """
        names = [task.name for task in TRAINED if task.direction == direction and task.map.name != without]
        names = [name for name in names if f"{row}/{name}/{metric}" in self.ours.replicates]
        if not names:
            return None
        deltas = [self.ours.value(row, name, metric) - self.baseline.value(row, name, metric) for name in names]
        keys = [f"{row}/{name}/{metric}" for name in names]
        differences = [self.ours.replicates[key] - self.baseline.replicates[key] for key in keys]
        return interval(float(np.mean(deltas)), np.mean(differences, axis=0))

    def starts(self) -> list[str]:
        """Which of CONTROL_ALONE and BASE_ALONE were measured: a start without an adapter cannot be measured."""
        return [name for name in (CONTROL_ALONE, BASE_ALONE) if name in set(self.yardsticks["name"])]

    def over(self, name: str, task: str, metric: str) -> Interval:
        """US-Diffusion, as chosen, − the yardstick BASE_ALONE or CONTROL_ALONE, in one trained task."""
        ours = self.ours.value("chosen", task, metric)
        theirs = self.yardstick(name, task, metric)
        differences = (
            self.ours.replicates[f"chosen/{task}/{metric}"] - self.yardstick_replicates[f"{name}/{task}/{metric}"]
        )
        return interval(ours - theirs, differences)

    def yardstick(self, name: str, task: str, metric: str, items: int | None = None) -> float:
        """A number of a yardstick, at a number of items where there are several; NaN if it was not measured."""
        table = self.yardsticks
        found = table[(table["name"] == name) & (table["task"] == task)]
        found = found[found["items"] == items] if items is not None else found
        return float(found[metric].iloc[0]) if len(found) and metric in found else float("nan")

    def distance(self, name: str, items: int) -> float:
        """The Fréchet distance of a yardstick at a number of items; NaN if it was not measured."""
        return self.yardstick(name, "map2image", "fd", items)

    def best_trivial(self, task: str) -> tuple[str, float]:
        """The trivial answer with the least RMSE, and that RMSE."""
        found = {name: self.yardstick(name, task, "rmse") for name in TRIVIAL}
        name = min(found, key=found.__getitem__)
        return name, found[name]


def interval_text(found: Interval | None) -> str:
    """A difference with its interval."""
    if found is None:
        return "not measured"
    digits = 2 if abs(found.high - found.low) > 0.5 else 4
    return f"{number(found.delta, digits)} [{number(found.low, digits)}, {number(found.high, digits)}]"


def verdict(found: Interval) -> str:
    """What an interval of a difference of errors says: better only if it excludes zero."""
    return "better" if found.is_below_zero else "worse" if found.is_above_zero else "no difference"


def unseen_tasks() -> list[str]:
    """The Image2Map tasks that were kept out of training."""
    return [task.name for task in TASKS.values() if task.direction == "image2map" and not task.map.trained]

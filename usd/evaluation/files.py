"""Files of the evaluation: written by a stage, read by gate, report and study."""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from usd.errors import UsdError
from usd.files import read_json, read_text
from usd.tasks import TASKS

DIGITS = 6  # significant, of a replicate


@dataclass
class Evaluation:
    """What stage `evaluate` writes."""

    metrics: dict[str, Any]
    samples: list[dict[str, object]] = field(default_factory=list)  # one row an item, with its seeds and its RMSE
    curve: list[dict[str, object]] = field(default_factory=list)  # one row a task and way to sample
    context: dict[str, Any] = field(default_factory=dict)  # the in-context tests, by task
    replicates: dict[str, np.ndarray] = field(default_factory=dict)  # "row/task/metric" → (R,)
    recognised: list[float] = field(default_factory=list)  # a trained task's share of items that the indicator names


@dataclass(frozen=True)
class Results:
    """What was written for one variant."""

    metrics: dict[str, Any]
    curve: pd.DataFrame
    context: dict[str, Any]
    replicates: dict[str, np.ndarray]

    def mean(self, row: str, direction: str, metric: str) -> float:
        """The mean of a metric over the trained tasks that have it, in one row of the curve; NaN if none has."""
        table = self.curve
        lines = table[(table["row"] == row) & (table["direction"] == direction) & table["trained"]]
        return float(lines[metric].mean()) if metric in lines else float("nan")

    def value(self, row: str, task: str, metric: str) -> float:
        """A metric of a task, such as image2depth, in one row of the curve."""
        table = self.curve
        direction, name = TASKS[task].direction, TASKS[task].map.name
        lines = table[(table["row"] == row) & (table["direction"] == direction) & (table["task"] == name)]
        return float(lines[metric].iloc[0]) if len(lines) and metric in lines else float("nan")


def write_evaluation(found: Evaluation, folder: Path) -> None:
    """Write metrics.json, samples.csv, curve.csv, context.json and bootstrap.csv."""
    (folder / "metrics.json").write_text(json.dumps(found.metrics, indent=1) + "\n")
    (folder / "context.json").write_text(json.dumps(found.context, indent=1) + "\n")
    for name, rows in (("samples.csv", found.samples), ("curve.csv", found.curve)):
        pd.DataFrame(rows).to_csv(folder / name, index=False, lineterminator="\n")
    write_replicates(found.replicates, folder / "bootstrap.csv")


def read_results(folder: Path) -> Results:
    """Read what `write_evaluation` wrote.

    Raises:
        UsdError: a file is missing or unreadable.
    """
    return Results(
        metrics=read_json(folder / "metrics.json"),
        curve=read_table(folder / "curve.csv").astype({"row": str}),
        context=read_json(folder / "context.json"),
        replicates=read_replicates(folder / "bootstrap.csv"),
    )


def write_replicates(replicates: dict[str, np.ndarray], path: Path) -> None:
    """One column a quantity, one line a replicate."""
    pd.DataFrame(replicates).to_csv(path, index=False, float_format=f"%.{DIGITS}g", lineterminator="\n")


def read_replicates(path: Path) -> dict[str, np.ndarray]:
    """The columns of `write_replicates`."""
    table = read_table(path)
    return {str(name): table[name].to_numpy() for name in table}


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file that a stage has written."""
    try:
        return pd.read_csv(io.StringIO(read_text(path)))
    except ValueError as error:
        raise UsdError(f"{path}: not readable ({error}); run the stage that makes it") from error

"""The numbers of metrics files by variant, task and metric, and how much they differ between seeds."""

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from usd.diff.revision import MALFORMED, Revision
from usd.errors import UsdError
from usd.reporting.comparison import METRICS
from usd.reporting.gate import mean
from usd.tasks import DIRECTIONS, task_name

STUDY = "results/study/study.json"
ANNOTATORS = "results/annotators.json"
AVERAGED = tuple(metric for _, metric in METRICS)  # over the trained tasks, as the gate and the study do
LOWER = {*AVERAGED, "floor_ratio", "absrel", "kid", "depth_rmse", "rmse_averaged", "fd_averaged"}
HIGHER = {"miou", "obeys", "swapped_pair_change", "indicator_accuracy", "seg_accuracy"}
MEAN = "mean of the trained tasks"
DIGITS = 6  # of a difference; the rest is rounding

Key = tuple[str, str, str]  # variant, task, metric


@dataclass(frozen=True)
class Noise:
    """How much a metric differs between trainings with other seeds: its range over them.

    A metric that the runs do not measure gets the widest range of the means as a share of its value; without any
    runs the floor is None, and every change counts.
    """

    floors: dict[Key, float]
    share: float | None
    runs: int  # the most runs that a floor comes from

    def floor(self, key: Key, value: float) -> float | None:
        """The smallest difference that is more than noise."""
        measured = self.floors.get(key)
        if measured is not None or self.share is None:
            return measured
        return self.share * abs(value)


def paths(revision: Revision) -> dict[str, str]:
    """Variant → its metrics file; the annotators count as one."""
    listed = [path for path in revision.paths("results") if path.endswith("/metrics.json")]
    found = {path.removeprefix("results/").removesuffix("/metrics.json"): path for path in listed}
    return found | ({"annotators": ANNOTATORS} if ANNOTATORS in revision.blobs else {})


def read_metrics(revision: Revision) -> dict[Key, float]:
    """All numbers of all metrics files.

    Raises:
        UsdError: a file is not in the form of metrics.
    """
    found: dict[Key, float] = {}
    for variant, path in paths(revision).items():
        found |= numbers(variant, read_scores(revision, path))
    return found


def read_scores(revision: Revision, path: str) -> dict[str, Any]:
    """A metrics file: below a direction stand tasks, below a task numbers, and so in each row of `paper`.

    Raises:
        UsdError: the file is not in this form.
    """
    values: dict[str, Any] = revision.json(path)
    if fault := _fault(values, ()):
        raise UsdError(f"{path} of {revision.label}: {fault}; make it again with `dvc repro`")
    return values


def is_number(value: Any) -> bool:
    """Whether it is a number that can be compared with others; NaN and infinity are."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)


def read_noise(revision: Revision) -> Noise:
    """The noise floors, from the runs of the study.

    Raises:
        UsdError: the file does not hold runs.
    """
    if STUDY not in revision.blobs:
        return Noise({}, None, 0)
    try:
        return noise(_study_runs(revision.json(STUDY)))
    except MALFORMED as error:
        what = f"{STUDY} of {revision.label}: not the rows of runs ({error!r})"
        raise UsdError(f"{what}; make it again with `dvc repro study`") from None


def noise(groups: Iterable[list[dict[Key, float]]]) -> Noise:
    """The range of each metric within groups of runs that differ by their seed only; the widest of all groups."""
    floors: dict[Key, float] = {}
    shares, most = [], 0
    for runs in (group for group in groups if len(group) > 1):
        most = max(most, len(runs))
        for key in set.intersection(*map(set, runs)):
            values = [run[key] for run in runs]
            spread = round(max(values) - min(values), DIGITS)
            if not math.isfinite(spread):
                continue
            floors[key] = max(spread, floors.get(key, 0.0))
            if key[1] == MEAN and (middle := abs(sum(values) / len(values))):
                shares.append(spread / middle)
    return Noise(floors, max(shares, default=None), most)


def numbers(variant: str, values: dict[str, Any]) -> dict[Key, float]:
    """All numbers of a metrics file or of a run, and the means over the trained tasks."""
    return {(variant, *_named(where)): value for where, value in _leaves(values, ())} | _means(variant, values)


def _study_runs(study: dict[str, Any]) -> list[list[dict[Key, float]]]:
    """Runs of the study that share variant, direction and sampling, seed by seed."""
    by_setting = itemgetter("variant", "direction", "steps", "nfe", "guidance")
    by_seed = itemgetter("seed")
    groups = []
    for _, rows in groupby(sorted(study["rows"], key=by_setting), by_setting):
        seeds = [list(run) for _, run in groupby(sorted(rows, key=by_seed), by_seed)]
        groups.append([_study_run(run) for run in seeds])
    return groups


def _study_run(rows: list[dict[str, Any]]) -> dict[Key, float]:
    scores = {row["task"]: {name: row[name] for name in AVERAGED if name in row} for row in rows}
    return numbers(rows[0]["variant"], {rows[0]["direction"]: scores})


def _means(variant: str, values: dict[str, Any]) -> dict[Key, float]:
    return {
        (variant, MEAN, name): round(mean(values, direction, name), 5)
        for direction in DIRECTIONS
        for name in AVERAGED
        if any(name in scores for scores in values.get(direction, {}).values())
    }


def _fault(value: Any, where: tuple[str, ...]) -> str:
    """The first key that is not in the form of a metrics file, and why; empty if all are."""
    row = where[2:] if where[:1] == ("paper",) else where
    scored = bool(row) and row[0] in DIRECTIONS
    if isinstance(value, dict) and not (scored and len(row) > 2):
        return next(filter(None, (_fault(item, (*where, name)) for name, item in value.items())), "")
    if not row or (scored and len(row) < 3):
        return ": ".join(filter(None, (".".join(where), "not a mapping")))
    judged = scored or where[-1] in LOWER | HIGHER or isinstance(value, int)
    return f"{'.'.join(where)}: not a number of double precision" if judged and not is_number(value) else ""


def _leaves(value: Any, where: tuple[str, ...]) -> list[tuple[tuple[str, ...], float]]:
    if isinstance(value, dict):
        return [leaf for name, item in value.items() for leaf in _leaves(item, (*where, str(name)))]
    return [(where, float(value))] if isinstance(value, int | float) else []


def _named(where: tuple[str, ...]) -> tuple[str, str]:
    """Task and metric of a number: ("unseen", "image2map", "normal", "rmse") → ("image2normal, unseen", "rmse")."""
    *path, name = where
    if path[:1] == ["sampling"]:
        return " ".join(path[:2]), " ".join([*path[2:], name])
    for place, step in enumerate(path[:-1]):
        if step in DIRECTIONS:
            rest = [*path[:place], *path[place + 2 :]]
            return ", ".join([task_name(path[place + 1], step), *rest]), name
    return ", ".join(path), name

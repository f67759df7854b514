"""What changed in the metrics, by variant and task, against the noise between seeds."""

import math
from dataclasses import dataclass
from typing import Any

from usd.diff.revision import Revision
from usd.errors import UsdError
from usd.tasks import DIRECTIONS, task_name

RUNS = "results/ablation/runs.json"
ANNOTATORS = "results/annotators.json"
AVERAGED = ("rmse", "fd", "adherence_rmse")  # over the trained tasks, as the gate and the ablation do
LOWER = {*AVERAGED, "floor_ratio", "absrel", "kid", "depth_rmse", "rmse_averaged", "fd_averaged"}
HIGHER = {"miou", "swapped_pair_change", "indicator_accuracy", "seg_accuracy"}
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

    def floor(self, key: Key, value: float) -> float | None:
        """The least difference that is more than noise."""
        measured = self.floors.get(key)
        if measured is not None or self.share is None:
            return measured
        return self.share * abs(value)


@dataclass(frozen=True)
class Change:
    """A metric that differs; None where a revision does not have it."""

    variant: str
    task: str
    metric: str
    before: float | None
    after: float | None
    floor: float | None

    @property
    def direction(self) -> str:
        """Which way is better: "lower", "higher", or "" for a number that is no score."""
        return "lower" if self.metric in LOWER else "higher" if self.metric in HIGHER else ""

    @property
    def verdict(self) -> str:
        """One of: worse, better, within noise, changed, new, gone."""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "gone"
        if not self.direction:
            return "changed"
        if not (math.isfinite(self.before) and math.isfinite(self.after)):
            return "better" if math.isfinite(self.after) else "worse"
        gain = round(self.before - self.after, DIGITS) * (1 if self.direction == "lower" else -1)
        if abs(gain) <= (self.floor or 0.0):
            return "within noise"
        return "better" if gain > 0 else "worse"


def changed(base: Revision, head: Revision) -> list[Change]:
    """The metrics that differ, sorted by variant, task and metric; the means come first."""
    noise = read_noise(head) or read_noise(base) or Noise({}, None)
    before, after = read_metrics(base), read_metrics(head)

    def place(key: Key) -> tuple[str, bool, str, str]:
        return key[0], key[1] != MEAN, key[1], key[2]

    return [
        Change(*key, before.get(key), after.get(key), noise.floor(key, before.get(key, 0.0)))
        for key in sorted(before.keys() | after.keys(), key=place)
        if repr(before.get(key)) != repr(after.get(key))  # by its text NaN equals NaN
    ]


def paths(revision: Revision) -> dict[str, str]:
    """Variant → its metrics file; the annotators count as one."""
    found = {path.split("/")[1]: path for path in revision.paths("results") if path.endswith("/metrics.json")}
    return found | ({"annotators": ANNOTATORS} if ANNOTATORS in revision.blobs else {})


def read_metrics(revision: Revision) -> dict[Key, float]:
    """All numbers of all metrics files.

    Raises:
        UsdError: a file is not a mapping.
    """
    found: dict[Key, float] = {}
    for variant, path in paths(revision).items():
        values = revision.json(path)
        if not isinstance(values, dict):
            raise UsdError(f"{path} of {revision.label}: not a mapping; make it again with `dvc repro`")
        found |= _numbers(variant, values)
    return found


def read_noise(revision: Revision) -> Noise | None:
    """The noise floors, None where the revision has no ablation.

    Raises:
        UsdError: the file does not hold runs by variant.
    """
    runs = revision.json(RUNS)
    if runs is None:
        return None
    floors: dict[Key, float] = {}
    shares = []
    try:
        for variant, scores in runs.items():
            measured = [_numbers(variant, each) for each in scores]
            for key in set.intersection(*map(set, measured)) if len(measured) > 1 else ():
                values = [each[key] for each in measured]
                floors[key] = round(max(values) - min(values), DIGITS)
                if key[1] == MEAN and (middle := abs(sum(values) / len(values))):
                    shares.append(floors[key] / middle)
    except (AttributeError, TypeError) as error:
        raise UsdError(
            f"{RUNS} of {revision.label}: not runs by variant ({error!r}); make it again with `dvc repro ablation`"
        ) from None
    return Noise(floors, max(shares, default=None))


def _numbers(variant: str, values: dict[str, Any]) -> dict[Key, float]:
    """All numbers of a metrics file or of a run of the ablation, and the means over the trained tasks."""
    return {(variant, *_named(where)): value for where, value in _leaves(values, ())} | _means(variant, values)


def _means(variant: str, values: dict[str, Any]) -> dict[Key, float]:
    """The means over the trained tasks."""
    found = {}
    for direction in DIRECTIONS:
        tasks = values.get(direction)
        scores = [each for each in tasks.values() if isinstance(each, dict)] if isinstance(tasks, dict) else []
        for name in AVERAGED:
            numbers = [each[name] for each in scores if isinstance(each.get(name), int | float)]
            if numbers:
                found[variant, MEAN, name] = round(sum(numbers) / len(numbers), 5)
    return found


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

"""What changed in the metrics, by variant and task, against the noise between seeds."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from usd.config.training import BASELINE
from usd.diff.layout import NONE, Section, Table
from usd.diff.revision import Revision
from usd.diff.scores import DIGITS, HIGHER, LOWER, MEAN, Key, Noise, paths, read_metrics, read_noise

VERDICTS = ("worse", "better", "within noise", "changed", "new", "gone")
JUDGED = VERDICTS[:3]
MEASURED = (
    "Noise is the range over {runs} runs with other seeds; a metric missing there gets the largest relative range "
    "of the means over the trained tasks, times its value."
)
UNMEASURED = "There are no runs with other seeds, so the noise is not known and every change counts."


@dataclass(frozen=True)
class MetricChange:
    """A metric that differs; None where a revision does not have it."""

    variant: str
    task: str
    metric: str
    before: float | None
    after: float | None
    floor: float | None  # the smallest difference that is more than noise; None where that is not known

    @property
    def direction(self) -> str:
        """Which way is better: "lower", "higher", or "" for a number that is not a score."""
        return "lower" if self.metric in LOWER else "higher" if self.metric in HIGHER else ""

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
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


@dataclass(frozen=True)
class MetricsPart:
    """The metrics that differ, sorted by variant, task and metric; the means come first."""

    title: ClassVar[str] = "Metrics"

    changes: list[MetricChange]
    lost: dict[str, str]  # variant → its metrics file, if that is not there any more
    noise: Noise

    @property
    def summary(self) -> str:
        """How many metrics have each verdict, and then how many of the baseline's."""
        baseline = _counted([each for each in self.changes if each.variant == BASELINE])
        counted = [_counted(self._guarded), f"{BASELINE}: {baseline}" if baseline else ""]
        return "; ".join(filter(None, counted))

    @property
    def regressions(self) -> list[str]:
        """Metrics, except the baseline's, that got worse beyond the noise, and what is not measured any more."""
        found = [f"{path} is gone" for path in self.lost.values()]
        for each in self._guarded:
            what = f"{', '.join(filter(None, (each.variant, each.task)))}: {each.metric}"
            if each.verdict == "worse":
                found.append(f"{what} {each.before:g} → {each.after:g}")
            elif each.verdict == "gone" and each.direction and each.variant not in self.lost:
                found.append(f"{what} is gone")
        return found

    def section(self) -> Section | None:
        """Tables by verdict; only what got worse or better is unfolded, except the baseline's."""
        if not self.summary:
            return None
        notes = [f"{path} is gone." for path in self.lost.values()]
        judged = [each for each in self.changes if each.verdict in JUDGED]
        if judged:
            known = any(each.floor is not None for each in judged)
            notes.append(MEASURED.format(runs=self.noise.runs) if known else UNMEASURED)
        guarded, moved = self._guarded, ("worse", "better")
        others = [each for each in self.changes if each.variant == BASELINE]
        tables = [
            _table("Worse and better", guarded, moved, folded=False),
            _table(f"Worse and better: {BASELINE}, the baseline", others, moved),
            _table("Within noise", self.changes, ("within noise",)),
            _table("Numbers that are not scores", self.changes, ("changed",)),
            _table("New", self.changes, ("new",)),
            _table("Gone", self.changes, ("gone",)),
        ]
        return Section(self.title, self.summary, notes, [table for table in tables if table.rows])

    @property
    def _guarded(self) -> list[MetricChange]:
        """What can be a regression: the baseline is only what the others are compared with."""
        return [each for each in self.changes if each.variant != BASELINE]


def compare(base: Revision, head: Revision) -> MetricsPart:
    """Compare all metrics files of two revisions.

    Raises:
        UsdError: a file cannot be read.
    """
    measured = [read_noise(revision) for revision in (head, base)]
    noise = max(measured, key=lambda each: each.runs)  # of two as good, the newer
    before, after = read_metrics(base), read_metrics(head)
    files_before, files_after = paths(base), paths(head)

    def place(key: Key) -> tuple[str, bool, str, str]:
        return key[0], key[1] != MEAN, key[1], key[2]

    changes = [
        MetricChange(*key, before.get(key), after.get(key), noise.floor(key, before.get(key, 0.0)))
        for key in sorted(before.keys() | after.keys(), key=place)
        if repr(before.get(key)) != repr(after.get(key))  # by its text NaN equals NaN
    ]
    lost = {variant: path for variant, path in files_before.items() if variant not in files_after}
    return MetricsPart(changes, lost, noise)


def _counted(changes: list[MetricChange]) -> str:
    counts = Counter(change.verdict for change in changes)
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])


def _table(title: str, changes: list[MetricChange], verdicts: tuple[str, ...], folded: bool = True) -> Table:
    head = ["variant", "task", "metric", "better", "before", "after", "difference", "noise", "verdict"]
    found = [change for verdict in verdicts for change in changes if change.verdict == verdict]
    return Table(title, head, [_row(change) for change in found], 3, folded)


def _row(change: MetricChange) -> list[str]:
    difference = noise = NONE
    if change.before is not None and change.after is not None:
        difference = f"{change.after - change.before:+.4g}"
        if change.direction:
            noise = "unknown" if change.floor is None else f"{change.floor:.3g}"
    return [
        change.variant,
        change.task,
        change.metric,
        change.direction or NONE,
        *(NONE if value is None else f"{value:g}" for value in (change.before, change.after)),
        difference,
        noise,
        change.verdict,
    ]

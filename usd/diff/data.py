"""What changed in the data: counts by split and task, samples by key, and the distributions."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import ClassVar

from usd.data.record import SPLITS
from usd.diff.layout import NONE, PictureChange, Section, Table
from usd.diff.revision import Revision
from usd.diff.samples import SamplePictures, Store, sample_pictures, thumbnails
from usd.diff.summary import Spread, Summary, read_summary
from usd.errors import UsdError

SAMPLES = "results/validation/samples.csv"
ALL = "any"  # instead of a task: all samples
DRIFT = 0.25  # a mean or deviation that moves by more than this share of the deviation is flagged
SHOWN = 12  # samples with pictures, per kind of change
NOT_CACHED = "The DVC cache has no pictures of these samples; with a DVC remote, --fetch gets them."
NOT_PUSHED = "The DVC remote lacks the pictures of these samples; dvc push sends them, run where they are."


@dataclass(frozen=True)
class Count:
    """Samples of a task in a split; None where the revision does not have the task or no summary."""

    task: str
    split: str
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Keys:
    """The samples that differ, by kind of change; each list is sorted."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    @property
    def kinds(self) -> dict[str, list[str]]:
        """Kind of change → keys."""
        return {"added": self.added, "removed": self.removed, "changed": self.changed}


@dataclass(frozen=True)
class Drift:
    """A distribution that moved or widened, between two revisions or from one split to another."""

    quantity: str
    where: str
    before: Spread
    after: Spread

    @property
    def share(self) -> float:
        """The larger of |Δ mean| and |Δ standard deviation|, over the standard deviation before."""
        moves = (abs(self.after.mean - self.before.mean), abs(self.after.std - self.before.std))
        if not all(map(isfinite, moves)):
            return inf
        moved = max(moves)
        return moved / self.before.std if self.before.std else inf if moved else 0.0

    @property
    def flagged(self) -> bool:
        """Whether it moved far."""
        return self.share > DRIFT


@dataclass(frozen=True)
class DataPart:
    """The data at both revisions."""

    title: ClassVar[str] = "Data"

    before: Summary | None
    after: Summary | None
    keys: Keys | None  # None where a revision does not list its samples
    unlisted: list[str]  # the revisions that do not
    pictures: tuple[SamplePictures, SamplePictures] | None = None  # None where no key differs

    @property
    def summary(self) -> str:
        """How many samples were added, removed or changed."""
        kinds = self.keys.kinds if self.keys else {}
        if any(kinds.values()):
            return ", ".join(f"{len(found)} {word}" for word, found in kinds.items() if found) + " samples"
        digests = [summary.digest if summary else None for summary in (self.before, self.after)]
        recounted = any(count.before != count.after for count in counts(self.before, self.after))
        return "changed" if digests[0] != digests[1] or recounted or self._drifts() else ""

    @property
    def regressions(self) -> list[str]:
        """None: whether the data are good is judged by the validation."""
        return []

    def section(self) -> Section | None:
        """Counts, distributions, keys, and pictures of the first samples of each kind."""
        if not self.summary:
            return None
        notes = [f"The keys of the samples are not known at {' and '.join(self.unlisted)}."] if self.unlisted else []
        between = split_drifts(self.after) if self.after else []
        flagged = [drift for drift in between if drift.flagged]
        if between and not flagged:
            notes.append(f"Train and test agree: nothing is further apart than {DRIFT:g} standard deviations.")
        tables = [
            _count_table(counts(self.before, self.after)),
            _drift_table("This version against the last", ["before", "after"], self._drifts()),
            _drift_table("Train against test", ["train", "test"], flagged),
        ]
        kinds = self.keys.kinds if self.keys else {}
        for word, keys in kinds.items():
            tables.append(Table(f"Samples {word}: {len(keys)}", ["key"], [[key] for key in keys], folded=True))
        pictures = self._thumbnails([key for keys in kinds.values() for key in keys[:SHOWN]])
        if any(kinds.values()) and not pictures:
            fetched = self.pictures and self.pictures[0].store.fetch
            notes.append(NOT_PUSHED if fetched else NOT_CACHED)
        filled = [table for table in tables if table.rows]
        return Section(self.title, self.summary, notes, filled, "Samples before and after", pictures)

    def _drifts(self) -> list[Drift]:
        return drifts(self.before, self.after) if self.before and self.after else []

    def _thumbnails(self, keys: list[str]) -> list[PictureChange]:
        return thumbnails(*self.pictures, keys) if self.pictures else []


def compare(base: Revision, head: Revision) -> DataPart:
    """Compare the data of two revisions.

    Raises:
        UsdError: a summary or a list of samples cannot be read, or a picture not be fetched.
    """
    left, right = digests(base), digests(head)
    keys = differing(left, right) if left is not None and right is not None else None
    pictures = None
    if keys and any(keys.kinds.values()):
        store = Store(head.root, base.fetch or head.fetch)
        pictures = (sample_pictures(base, store), sample_pictures(head, store))
    return DataPart(
        before=read_summary(base),
        after=read_summary(head),
        keys=keys,
        unlisted=[side.label for side, found in ((base, left), (head, right)) if found is None],
        pictures=pictures,
    )


def counts(before: Summary | None, after: Summary | None) -> list[Count]:
    """Samples that serve each task, by split: an unseen task has none in training."""
    left, right = by_task(before), by_task(after)
    return [
        Count(task, split, left.get((task, split)), right.get((task, split)))
        for task, split in dict.fromkeys((*left, *right))
    ]


def by_task(summary: Summary | None) -> dict[tuple[str, str], int]:
    """(task, split) → samples, in the order of the task table."""
    if summary is None:
        return {}
    every = {ALL: summary.samples} | summary.tasks
    return {(task, split): number for task, numbers in every.items() for split, number in numbers.items()}


def digests(revision: Revision) -> dict[str, str] | None:
    """Key → digest of every sample, None where the revision does not list them.

    Raises:
        UsdError: the file is not such a list.
    """
    data = revision.read(SAMPLES)
    if data is None:
        return None
    head, *rows = data.decode(errors="replace").splitlines() or [""]
    pairs = [row.split(",") for row in rows]
    if head != "key,digest" or any(len(pair) != 2 for pair in pairs):
        raise UsdError(
            f"{SAMPLES} of {revision.label}: not rows of key,digest; make it again with `dvc repro validate`"
        )
    return dict(pairs)


def differing(before: dict[str, str], after: dict[str, str]) -> Keys:
    """Which samples were added, removed or changed."""
    return Keys(
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
        changed=sorted(key for key in before.keys() & after.keys() if before[key] != after[key]),
    )


def drifts(before: Summary, after: Summary) -> list[Drift]:
    """Every distribution that differs between two versions of the data, the furthest first."""
    moved = [
        Drift(name, split, before.spreads[name][split], spread)
        for name, spreads in after.spreads.items()
        for split, spread in spreads.items()
        if split in before.spreads.get(name, {}) and repr(before.spreads[name][split]) != repr(spread)
    ]
    return _sorted(moved)


def split_drifts(summary: Summary) -> list[Drift]:
    """Training against test within one version, the furthest first."""
    both = [(name, spreads) for name, spreads in summary.spreads.items() if {"train", "test"} <= spreads.keys()]
    return _sorted([Drift(name, "train → test", spreads["train"], spreads["test"]) for name, spreads in both])


def _sorted(found: list[Drift]) -> list[Drift]:
    return sorted(found, key=lambda drift: (-drift.share, drift.quantity, drift.where))


def _count_table(found: list[Count]) -> Table:
    by_task: dict[str, dict[str, str]] = {}
    for count in found:
        same = count.before == count.after
        before, after = (NONE if number is None else str(number) for number in (count.before, count.after))
        by_task.setdefault(count.task, {})[count.split] = after if same else f"{before} → {after}"
    rows = [[task, *(cells.get(split, NONE) for split in SPLITS)] for task, cells in by_task.items()]
    moved = any(count.before != count.after for count in found)
    return Table("Samples by task and split", ["task", *SPLITS], rows, folded=not moved)


def _drift_table(title: str, sides: list[str], found: list[Drift]) -> Table:
    def cell(spread: Spread) -> str:
        return f"{spread.mean:g} ± {spread.std:.3g}"

    rows = [
        [d.quantity, d.where, cell(d.before), cell(d.after), f"{d.share:.2f}", "moved far" if d.flagged else ""]
        for d in found
    ]
    head = ["quantity", "split", *sides, "shift / deviation", f"flagged above {DRIFT:g}"]
    return Table(title, head, rows, 0, folded=not any(drift.flagged for drift in found))

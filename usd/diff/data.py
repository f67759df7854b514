"""What changed in the data: counts by split and task, samples by key, and the distributions."""

from dataclasses import dataclass

from usd.diff.revision import Revision
from usd.diff.validation import Spread, Summary
from usd.errors import UsdError

SAMPLES = "results/validation/samples.csv"
ALL = "any"  # in the place of a task: all samples
DRIFT = 0.25  # a mean or deviation that moves by more than this share of the deviation is flagged


@dataclass(frozen=True)
class Count:
    """Samples of a task in a split; None where the revision does not have the task or no summary."""

    task: str
    split: str
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Keys:
    """Samples by key, sorted."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.added or self.removed or self.changed)


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
        moved = max(abs(self.after.mean - self.before.mean), abs(self.after.std - self.before.std))
        return moved / self.before.std if self.before.std else float("inf") if moved else 0.0

    @property
    def flagged(self) -> bool:
        """Whether it moved far."""
        return self.share > DRIFT


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


def keys(before: dict[str, str], after: dict[str, str]) -> Keys:
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
        if split in before.spreads.get(name, {}) and before.spreads[name][split] != spread
    ]
    return _sorted(moved)


def split_drifts(summary: Summary) -> list[Drift]:
    """Training against test within one version, the furthest first."""
    both = [(name, spreads) for name, spreads in summary.spreads.items() if {"train", "test"} <= spreads.keys()]
    return _sorted([Drift(name, "train → test", spreads["train"], spreads["test"]) for name, spreads in both])


def _sorted(found: list[Drift]) -> list[Drift]:
    return sorted(found, key=lambda drift: (-drift.share, drift.quantity, drift.where))

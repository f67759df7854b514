"""The validation summary of a revision, and which expectations newly fail or are fixed."""

import re
from dataclasses import dataclass
from typing import Any

from usd.data.record import SPLITS
from usd.diff.revision import Revision
from usd.errors import UsdError

SUMMARY = "results/validation/summary.json"


@dataclass(frozen=True)
class Spread:
    """A quantity over the samples of a split; the deviation of a share p is √(p (1 − p))."""

    mean: float
    std: float


@dataclass(frozen=True)
class Summary:
    """What stage `validate` found."""

    digest: str  # of all samples
    expectations: dict[str, bool]  # name → holds
    samples: dict[str, int]  # by split
    tasks: dict[str, dict[str, int]]  # task → split → samples that serve it
    spreads: dict[str, dict[str, Spread]]  # quantity → split → spread

    @property
    def failing(self) -> list[str]:
        """Expectations that do not hold."""
        return [name for name, passed in self.expectations.items() if not passed]


def read_summary(revision: Revision) -> Summary | None:
    """The summary, None where the revision has none.

    Raises:
        UsdError: the file is not a validation summary.
    """
    found = revision.json(SUMMARY)
    if found is None:
        return None
    try:
        return Summary(
            digest=str(found["digest"]),
            expectations={str(row["name"]): bool(row["passed"]) for row in found["expectations"]},
            samples={split: int(found["splits"][split]["samples"]) for split in SPLITS},
            tasks={task: dict(numbers) for task, numbers in found.get("tasks", {}).items()},  # older ones lack it
            spreads=_spreads(found["splits"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsdError(
            f"{SUMMARY} of {revision.label}: not a validation summary ({error!r}); run `dvc repro validate`"
        ) from None


@dataclass(frozen=True)
class Verdicts:
    """How the expectations stand at both revisions."""

    failing: list[str]  # at the later revision
    newly_failing: list[str]
    fixed: list[str]
    unchecked: list[str]  # held at the earlier revision, and is not checked at the later one
    gone: bool  # there is no summary any more

    @property
    def in_words(self) -> str:
        """What changed, in short; empty if nothing did."""
        counted = {
            "newly fails": len(self.newly_failing),
            "fixed": len(self.fixed),
            "no longer checked": len(self.unchecked),
        }
        return "summary gone" if self.gone else ", ".join(f"{n} {word}" for word, n in counted.items() if n)


def verdicts(before: Summary | None, after: Summary | None) -> Verdicts:
    """What newly fails did not fail before; what is fixed failed and holds now, or is checked no more.

    With another bound an expectation is the same: a moved threshold shows among the parameters.
    """
    checked = before.expectations if before else {}
    failed = before.failing if before else []
    fails = after.failing if after else []
    checks = after.expectations if after else {}
    failed_before, fails_now, checked_now = (set(map(_unbounded, names)) for names in (failed, fails, checks))
    return Verdicts(
        failing=fails,
        newly_failing=[name for name in fails if _unbounded(name) not in failed_before],
        fixed=[name for name in failed if after and _unbounded(name) not in fails_now],
        unchecked=[name for name, held in checked.items() if after and held and _unbounded(name) not in checked_now],
        gone=before is not None and after is None,
    )


def _unbounded(name: str) -> str:
    """An expectation's name without the numbers in it."""
    return re.sub(r"\d+(\.\d+)?", "#", name)


def _spreads(splits: dict[str, Any]) -> dict[str, dict[str, Spread]]:
    found: dict[str, dict[str, Spread]] = {}
    for split in SPLITS:
        for name, values in splits[split]["statistics"].items():
            _put(found, name, split, values["mean"], values["std"])
        for name, values in splits[split]["classes"].items():
            shown = values["images"]
            _put(
                found, f"{name}: share of images", split, shown, None if shown is None else (shown * (1 - shown)) ** 0.5
            )
            _put(found, f"{name}: area", split, values["pixels"], values.get("std"))  # older summaries lack it
    return found


def _put(found: dict[str, dict[str, Spread]], name: str, split: str, mean: float | None, std: float | None) -> None:
    if mean is not None and std is not None:
        found.setdefault(name, {})[split] = Spread(float(mean), float(std))

"""The validation summary of a revision, as stage `validate` writes it."""

from dataclasses import dataclass
from typing import Any

from usd.data.record import SPLITS
from usd.diff.revision import MALFORMED, Revision
from usd.errors import UsdError

SUMMARY = "results/validation/summary.json"


@dataclass(frozen=True)
class Spread:
    """A quantity over the samples of a split; the deviation of a share p is √(p (1 − p))."""

    mean: float
    std: float


@dataclass(frozen=True)
class Expectation:
    """One expectation on the data, and whether it holds."""

    id: str  # stays when a bound moves; empty in summaries made before expectations had one
    name: str  # in words, with its bounds
    passed: bool


@dataclass(frozen=True)
class Summary:
    """What stage `validate` found."""

    digest: str  # of all samples
    expectations: list[Expectation]
    samples: dict[str, int]  # by split
    tasks: dict[str, dict[str, int]]  # task → split → samples that serve it; empty in summaries made before they had it
    spreads: dict[str, dict[str, Spread]]  # quantity → split → spread


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
            expectations=[
                Expectation(str(row.get("id", "")), str(row["name"]), bool(row["passed"]))
                for row in found["expectations"]
            ],
            samples={split: int(found["splits"][split]["samples"]) for split in SPLITS},
            tasks={task: dict(numbers) for task, numbers in found.get("tasks", {}).items()},
            spreads=_spreads(found["splits"]),
        )
    except MALFORMED as error:
        raise UsdError(
            f"{SUMMARY} of {revision.label}: not a validation summary ({error!r}); run `dvc repro validate`, "
            "or compare with another revision"
        ) from None


def _spreads(splits: dict[str, Any]) -> dict[str, dict[str, Spread]]:
    found: dict[str, dict[str, Spread]] = {}
    for split in SPLITS:
        for name, values in splits[split]["statistics"].items():
            _put(found, name, split, values["mean"], values["std"])
        for name, values in splits[split]["classes"].items():
            share = values["images"]
            deviation = None if share is None else (share * (1 - share)) ** 0.5
            _put(found, f"{name}: share of images", split, share, deviation)
            _put(found, f"{name}: area", split, values["pixels"], values.get("std"))
    return found


def _put(found: dict[str, dict[str, Spread]], name: str, split: str, mean: float | None, std: float | None) -> None:
    if mean is not None and std is not None:
        found.setdefault(name, {})[split] = Spread(float(mean), float(std))

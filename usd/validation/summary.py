"""The validation summary: the same bytes for the same data, so that `git diff` shows what changed."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pandas as pd

from usd.data.classes import CLASSES
from usd.data.record import SPLITS, data_digest
from usd.errors import counted
from usd.tasks import TASKS
from usd.validation.dataset import warnings
from usd.validation.expectations import LISTED, MEASURED, Outcome, Report

STATISTICS = (*MEASURED, "caption_length", "alignment_seg")
QUANTILES = (0.05, 0.5, 0.95)
DIGITS = 4
TOLERATED = 3  # keys that the summary names, of an expectation that a share of the samples may miss
EXAMPLES = 3  # keys that a complaint names, of each expectation
SHORT = 12  # hex digits of a sample's digest in the list of samples


def summarise(report: Report, table: pd.DataFrame) -> dict[str, Any]:
    """Verdict, warnings, expectations, samples by task, and each split's count, digest and statistics, as JSON values.

    Depth is in metres, brightness, edge density and areas in [0, 1].
    """
    splits = {split: table["split"] == split for split in SPLITS}  # the parts of the table would be copies
    return {
        "success": report.success,
        "digest": data_digest(table["sample_hash"]),
        "warnings": warnings(table),
        "expectations": [_row(outcome) for outcome in report.outcomes],
        "tasks": {
            name: {
                split: int(own.sum()) if task.map.trained or split != "train" else 0 for split, own in splits.items()
            }
            for name, task in TASKS.items()
        },
        "splits": {
            split: {
                "samples": int(own.sum()),
                "digest": data_digest(table.loc[own, "sample_hash"]),
                "statistics": {column: _statistics(table.loc[own, column]) for column in STATISTICS},
                "classes": {name: _area(table.loc[own, f"area_{name}"]) for name in CLASSES},
            }
            for split, own in splits.items()
        },
    }


def as_json(summary: dict[str, Any]) -> str:
    """JSON, one value a line."""
    return json.dumps(summary, indent=1) + "\n"


def as_samples(table: pd.DataFrame) -> str:
    """CSV of every sample's key and the start of its digest, sorted by key, so that `usd diff` names what changed."""
    rows = pd.DataFrame({"key": table["key"], "digest": [each.hex()[:SHORT] for each in table["sample_hash"]]})
    return str(rows.sort_values(["key", "digest"]).to_csv(index=False, lineterminator="\n"))


def as_markdown(summary: dict[str, Any]) -> str:
    """The summary for a reader."""
    expectations, splits = summary["expectations"], summary["splits"]
    failed = counted(sum(not row["passed"] for row in expectations), "expectation FAILS", "expectations FAIL")
    sizes = [(split, part["samples"], f"`{part['digest'][:16]}`") for split, part in splits.items()]
    tasks = [(task, *numbers.values()) for task, numbers in summary["tasks"].items()]
    names = ("mean", "std", "min", *(f"q{q:g}" for q in QUANTILES), "max")
    spreads = [(c, split, *map(part["statistics"][c].get, names)) for c in STATISTICS for split, part in splits.items()]
    shares = [(c, *("{pixels} / {images}".format(**part["classes"][c]) for part in splits.values())) for c in CLASSES]
    parts = [
        f"# Validation: {'all expectations hold' if summary['success'] else failed}",
        f"Data digest `{summary['digest']}`.",
        "## Expectations",
        _table(("expectation", "holds", "failing samples", "observed", "keys"), map(_expectation, expectations)),
        *_bullets("Remedies", dict.fromkeys(row["remedy"] for row in expectations if row["remedy"])),
        *_bullets("Warnings", summary["warnings"]),
        "## Splits",
        _table(("split", "samples", "digest"), sizes),
        _table(("task", *splits), tasks),
        "## Statistics",
        "Depth in metres, captions in characters, the rest in [0, 1].",
        _table(("quantity", "split", *names), spreads),
        "## Classes",
        "Mean share of the pixels, and share of the images that show the class.",
        _table(("class", *splits), shares),
    ]
    return "\n\n".join(parts) + "\n"


def _expectation(row: dict[str, Any]) -> tuple[object, ...]:
    """Cells of an expectation: see `_row`."""
    keys = row["keys"] + ["…"] * (row["failing"] > len(row["keys"]))
    return row["name"], "yes" if row["passed"] else "**no**", row["failing"] or "", row["observed"], "; ".join(keys)


def _table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _bullets(title: str, lines: Collection[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {line}" for line in lines)] if lines else []


def complaint(report: Report) -> str:
    """The failing expectations, their samples and what to do, in one line."""
    found = "; ".join(
        f"{outcome.name}: " + (_listed(outcome) if outcome.failing else f"found {outcome.observed or 'none'}")
        for outcome in report.failed
    )
    remedies = "; ".join(dict.fromkeys(outcome.remedy for outcome in report.failed))
    return f"{found}. To fix it: {remedies}"


def _listed(outcome: Outcome) -> str:
    keys = list(outcome.failures)[:EXAMPLES]
    more = ", …" if outcome.failing > len(keys) else ""
    return f"{counted(outcome.failing, 'sample')} ({', '.join(keys)}{more})"


def _row(outcome: Outcome) -> dict[str, Any]:
    most = TOLERATED if outcome.passed else LISTED
    named = [f"{key} ({value})" if value else key for key, value in list(outcome.failures.items())[:most]]
    return {
        "id": outcome.id,
        "name": outcome.name,
        "passed": outcome.passed,
        "failing": outcome.failing,
        "observed": outcome.observed,
        "keys": named,
        "remedy": "" if outcome.passed else outcome.remedy,
    }


def _statistics(values: pd.Series) -> dict[str, float | None]:
    numbers = values.astype(float)
    found = {"mean": numbers.mean(), "std": numbers.std(), "min": numbers.min()}
    found |= {f"q{q:g}": numbers.quantile(q) for q in QUANTILES} | {"max": numbers.max()}
    return {name: _rounded(value) for name, value in found.items()}


def _area(values: pd.Series) -> dict[str, float | None]:
    shares = values.astype(float)
    return {"pixels": _rounded(shares.mean()), "std": _rounded(shares.std()), "images": _rounded((shares > 0).mean())}


def _rounded(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), DIGITS)

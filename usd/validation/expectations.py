"""What the data must satisfy: a Great Expectations suite over the per-sample table of `usd.validation.inspection`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from usd.config import Validate
from usd.data.camera import FAR
from usd.data.classes import CLASSES, MOST_CLASSES, STRAY
from usd.data.record import SPLITS
from usd.validation.gx import checked, great_expectations, pandas_batches, write_docs
from usd.validation.measures import ALIGNED

MOST_EMPTY = 0.9  # share of the Canny maps, which are made from the picture: soft pictures have no such edges
STRAYS = 0.001  # share of samples that may miss a bound which scenes miss by chance; of fewer than 1000 none may
LISTED = 20  # failing keys that a summary names, per expectation
CLEAN = {  # column of the table that is empty where all is well → the expectation's name
    "disagrees": "both manifests have the sample and agree",
    "missing": "every declared file is present",
    "unreadable": "every file is a complete PNG",
    "altered": "every file has the sha256 of its manifest",
    "wrong_kind": "every picture has its number type and channels",
    "wrong_size": "all pictures of a sample have one size",
    "blank": "images are not blank",
    "leaks": "no image is in two splits",
    "near_leaks": f"no image has a near-duplicate in another split, mirrored or not, all but {STRAYS:.1%}",
    "stray_colours": f"at most {MOST_CLASSES} class colours, more than {STRAY} levels apart",
}
RANGES: dict[str, tuple[float, float, str]] = {  # column → least, most, the expectation's name
    "depth_min_mm": (1, FAR * 1000, "depth is positive"),
    "depth_max_mm": (1, FAR * 1000, f"depth is at most {FAR:g} m"),
    "class_max": (0, len(CLASSES) - 1, f"class ids are below {len(CLASSES)}"),
    "off_palette": (0, 0, "segmentation colours are in the palette"),
    "off_class": (0, 0, "segmentation colours are those of the class ids"),
    "off_binary": (0, 0, "canny edges are 0 or 255"),
    "off_normal": (0, 0.02, "normals have length 1"),
    "off_outpaint": (0, 0, "the outpainting map is the image or grey"),
}
SPLIT_REMEDY = "put them into one split by splits.csv or --splits (docs/own-data.md)"
NAME_REMEDY = "render or ingest those samples again, or name their splits and keys as these say"
REMEDIES = {  # start of an expectation's id, or of its column's name → what to do about it
    "column_values_to_be_in_set.split": NAME_REMEDY,
    "column_pair_values_to_be_equal.split": NAME_REMEDY,
    "leaks": SPLIT_REMEDY,
    "near_leaks": SPLIT_REMEDY,
    "flat_canny": "lower annotate.canny_high and canny_low",
    "flat": "fix or leave out those maps, or raise validate.max_flat",
    "misfit": "give those pictures their own maps, turned as they are, or raise validate.max_misfits",
    "stray_colours": "save class maps as PNG, neither smoothed nor compressed with loss",
    "caption_length": "fix those captions, or change validate.min_caption or max_caption",
    "alignment": "fix those maps, or lower validate.min_alignment",
    "split": "add samples, decide by splits.csv, or lower validate.min_samples",
}
REMEDY = "make those files again by `dvc repro --force annotate`, or render or ingest"
MEASURED = ("brightness", "edge_density", "depth")


@dataclass(frozen=True)
class Outcome:
    """One expectation, checked."""

    id: str  # stays when a bound or the wording changes
    name: str  # in words
    column: str  # of the table
    passed: bool
    failing: int  # samples; 0 where the expectation is about a whole split
    failures: dict[str, str]  # key → the offending value
    observed: str  # where the expectation is about a whole split

    @property
    def remedy(self) -> str:
        """What to do if it does not hold."""
        found = (what for start, what in REMEDIES.items() if self.id.startswith(start) or self.column.startswith(start))
        return next(found, REMEDY)


@dataclass(frozen=True)
class Report:
    """The suite, checked."""

    outcomes: list[Outcome]

    @property
    def failed(self) -> list[Outcome]:
        """The expectations that do not hold."""
        return [outcome for outcome in self.outcomes if not outcome.passed]

    @property
    def success(self) -> bool:
        """Whether all expectations hold."""
        return not self.failed


def validate(table: pd.DataFrame, params: Validate, docs: Path | None = None) -> Report:
    """Check the per-sample table; Data Docs (HTML) are written into the folder `docs`, if given.

    Great Expectations copies the table several times for an expectation, and keeps what it computed until the end. So
    it is given one expectation and its columns at a time.
    """
    gx = great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = context.suites.add(gx.ExpectationSuite("samples", expectations=list(_suite(table, params))))
    batches = pandas_batches(context)
    results = [checked(batches, expectation, table) for expectation in suite.expectations]
    if docs is not None:
        write_docs(context, results, docs)
    return Report([_outcome(each) for each in results])


def _suite(table: pd.DataFrame, params: Validate) -> Iterator[Any]:
    """The expectations in the order of the summary; descriptions are unique.

    A number that no sample has, such as metric depth of photographs, is not asked for.
    """
    from great_expectations import expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    between = gxe.ExpectColumnValuesToBeBetween
    known = set(table.columns[table.notna().any()])
    for split in SPLITS:
        least, rows = max(params.min_samples, 1), Column("split") == split
        words = f"{split} has at least {least} samples"
        yield gxe.ExpectTableRowCountToBeBetween(min_value=least, row_condition=rows, description=words)
    yield gxe.ExpectColumnValuesToBeUnique(column="key", description="keys are unique")
    words = f"the split is {', '.join(SPLITS)}"
    yield gxe.ExpectColumnValuesToBeInSet(column="split", value_set=list(SPLITS), description=words)
    words = "the key starts with the split"
    yield gxe.ExpectColumnPairValuesToBeEqual(column_A="folder", column_B="split", description=words)
    for column, words in CLEAN.items():
        mostly = 1 - STRAYS if column == "near_leaks" else 1.0
        yield gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[""], mostly=mostly, description=words)
    size = str(table["size"].mode().iloc[0]) if table["size"].notna().any() else "none"
    words = f"all samples have one size, {size}"
    yield gxe.ExpectColumnValuesToBeInSet(column="size", value_set=[size], description=words)
    least, most = params.min_caption, params.max_caption
    words = f"captions have {least} to {most} characters"
    yield between(column="caption_length", min_value=least, max_value=most, description=words)
    for column, (low, high, words) in RANGES.items():
        if column in known:
            yield between(column=column, min_value=low, max_value=high, description=words)
    for column in MEASURED:
        if column in known:
            yield gxe.ExpectColumnValuesToNotBeNull(column=column, description=f"{column} is a number")
    yield from _alignment(table, params, known)
    yield from _content(table, params)


def _alignment(table: pd.DataFrame, params: Validate, known: set[str]) -> Iterator[Any]:
    """The expectations on maps whose edges must lie on those of the image."""
    from great_expectations import expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    for split in SPLITS:
        words = f"{split}: class boundaries lie on image edges, mean alignment at least {params.min_alignment}"
        if table.loc[table["split"] == split, "alignment_seg"].notna().any():
            yield gxe.ExpectColumnMeanToBeBetween(
                column="alignment_seg",
                min_value=params.min_alignment,
                row_condition=Column("split") == split,
                description=words,
            )
    least_each = params.min_alignment / 2  # a sample may fall short of the mean by half
    for name in ALIGNED:
        words = f"{name} map: edges lie on image edges, alignment at least {least_each:g}, all but {STRAYS:.1%}"
        if f"alignment_{name}" in known:
            yield gxe.ExpectColumnValuesToBeBetween(
                column=f"alignment_{name}", min_value=least_each, mostly=1 - STRAYS, description=words
            )


def _content(table: pd.DataFrame, params: Validate) -> Iterator[Any]:
    """The expectations on maps that a few samples of a split may miss, as pictures of a clear sky do."""
    from great_expectations import expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    for what, most, words in (
        ("flat", params.max_flat, "have several colours, and each its own"),
        ("misfit", params.max_misfits, "fit their pictures better than others"),
    ):
        for name in ALIGNED:
            share = max(most, MOST_EMPTY) if name == "canny" else most
            for split in SPLITS:
                column = f"{what}_{name}"
                count = int(table.loc[table["split"] == split, column].notna().sum())
                if count:
                    yield gxe.ExpectColumnValuesToBeInSet(
                        column=column,
                        value_set=[""],
                        mostly=max(0.0, 1 - share - 1 / count - 1e-9),
                        row_condition=Column("split") == split,
                        description=f"{split}: {name} maps {words}, all but one and {share:.1%}",
                    )


def _outcome(result: Any) -> Outcome:
    """An expectation's result in plain words and types."""
    settings, found = result.expectation_config, result.result
    column = settings.kwargs.get("column") or settings.kwargs.get("column_B") or "split"
    rows = found.get("partial_unexpected_index_list") or []
    observed = found.get("observed_value")
    split = (settings.kwargs.get("row_condition") or {}).get("parameter")
    return Outcome(
        id=".".join(filter(None, [settings.type.removeprefix("expect_"), column, split])),
        name=settings.description,
        column=column,
        passed=bool(result.success),
        failing=int(found.get("unexpected_count") or 0),
        failures={str(row["key"]): _plain(row.get(column)) for row in rows},
        observed=result.exception_info.get("exception_message") or ("" if observed is None else _plain(observed)),
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "none" if pd.isna(value) else f"{round(float(value), 4):.10g}"

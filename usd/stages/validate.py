"""Stage `validate`: check the data before it is packed, or stop the pipeline."""

import shutil
from pathlib import Path

from usd import config
from usd.data.expectations import validate
from usd.data.inspection import inspect_samples
from usd.data.record import atomic_directory
from usd.data.summary import as_json, as_markdown, as_samples, complaint, summarise
from usd.errors import UsdError
from usd.stages import run

FAILED = "failed.md"


def main(scenes: Path, annotated: Path, out: Path, docs: Path) -> None:
    """Check the folder datasets SCENES and ANNOTATED; if they are sound, a summary and the list of samples go to OUT.

    Data Docs go to DOCS. If the data are not sound, DOCS/failed.md says what is wrong, and OUT is not there, so that
    nothing downstream runs.
    """
    table = inspect_samples(scenes, annotated)
    with atomic_directory(docs) as scratch:
        report = validate(table, config.load().validate, scratch)
        summary = summarise(report, table)
        if not report.success:
            (scratch / FAILED).write_text(as_markdown(summary))
    if not report.success:
        shutil.rmtree(out, ignore_errors=True)  # an earlier verdict
        raise UsdError(
            f"the data do not hold what they must: {complaint(report)}. All keys: {docs / FAILED}. "
            f"Make the files again (`dvc repro --force annotate`, or `render`), or change `validate` in params.yaml"
        )
    with atomic_directory(out) as scratch:
        (scratch / "summary.json").write_text(as_json(summary))
        (scratch / "summary.md").write_text(as_markdown(summary))
        (scratch / "samples.csv").write_text(as_samples(table))


if __name__ == "__main__":
    run(main)

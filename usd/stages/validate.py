"""Stage `validate`: check the data before it is packed, or stop the pipeline."""

import sys
from pathlib import Path

import pyarrow as pa

from usd import config
from usd.errors import UsdError
from usd.files import atomic_directory
from usd.stages import run
from usd.validation.columns import compactly
from usd.validation.expectations import validate
from usd.validation.inspection import inspected, tabulate
from usd.validation.summary import as_json, as_markdown, as_samples, complaint, summarise


def main(scenes: Path, annotated: Path, out: Path, docs: Path) -> None:
    """Check the folder datasets SCENES and ANNOTATED; Data Docs go to DOCS, a summary and the list of samples to OUT.

    If the data are not sound, the summary says what is wrong, and the exit code and stage `shard` see to it that
    nothing downstream runs.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # so that Arrow and Python use again what the other has freed
    params = config.load().validate
    table = tabulate(compactly(inspected(scenes, annotated)))
    with atomic_directory(docs, "index.html") as scratch:
        report = validate(table, params, scratch)
    summary = summarise(report, table)
    for warning in summary["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    with atomic_directory(out, "summary.json") as scratch:
        (scratch / "summary.json").write_text(as_json(summary))
        (scratch / "summary.md").write_text(as_markdown(summary))
        (scratch / "samples.csv").write_text(as_samples(table))
    if not report.success:
        raise UsdError(f"the data fail validation: {complaint(report)}. All keys: {out / 'summary.md'}")


if __name__ == "__main__":
    run(main)

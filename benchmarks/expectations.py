"""Time and memory of Great Expectations over the table of stage `validate`, with many rows made of a few.

python -m benchmarks.expectations
python -m benchmarks.expectations --rows 4000 --rows 1000000
"""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.dataset import draw_scenes
from benchmarks.outcome import printed_by
from usd.validation.inspection import inspect_samples

CHECK = """
import sys, time
from pathlib import Path
import numpy as np
import pandas as pd
from benchmarks.outcome import peak
from usd import config
from usd.validation.expectations import validate
few, rows = pd.read_parquet("few.parquet"), int(sys.argv[1])
table = few.iloc[np.arange(rows) % len(few)].reset_index(drop=True)
table["key"] = table["split"].astype(str) + [f"-{n:07d}" for n in range(rows)]
size, before = table.memory_usage(deep=True).sum(), peak()
began = time.process_time()
report = validate(table, config.load().validate, Path("docs"))
print(time.process_time() - began, size, before, peak(), len(report.outcomes), len(report.failed))
"""
ROWS = [4_000, 40_000]


def main(rows: Annotated[list[int], typer.Option(help="Rows of the table; may be repeated.", min=1)] = ROWS) -> None:
    """Check tables of these sizes, each in a process of its own, and print what it takes."""
    with tempfile.TemporaryDirectory() as folder:
        draw_scenes(Path(folder, "project"))
        inspect_samples(Path("drawn/scenes"), Path("drawn/annotated")).to_parquet("few.parquet")
        print("| rows | processor time | table | memory before | at most | expectations | failed |", flush=True)
        print("|---|---|---|---|---|---|---|", flush=True)
        for count in rows:
            seconds, *sizes, checked, failed = printed_by(CHECK, str(count))[-6:]
            megabytes = " | ".join(f"{float(size) / 1e6:.0f} MB" for size in sizes)
            print(f"| {count} | {float(seconds):.1f} s | {megabytes} | {checked} | {failed} |", flush=True)


if __name__ == "__main__":
    typer.run(main)

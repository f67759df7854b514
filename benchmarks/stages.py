"""Bars of the stages that make the data; part of benchmarks.data."""

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.dataset import ROUNDS, packed
from benchmarks.outcome import Bar, printed_by
from usd.data.packing import pack
from usd.data.record import Manifest
from usd.parallel import cores
from usd.stages import shard

STAGE = """
import sys, time
from pathlib import Path
from benchmarks.outcome import peak
from usd.errors import UsdError
from usd.stages import {name}
began = time.perf_counter()
try:
    {name}.main(*map(Path, sys.argv[1:]))
except UsdError as error:
    if "{name}" != "validate": raise  # linked samples are not sound data: only the time counts
print(time.perf_counter() - began, peak())
"""


def stages(samples: int) -> Iterator[Bar]:
    """Time and memory a sample of annotate, validate and shard at two sizes, over links to the same pictures."""
    small, large = samples // 10, samples
    for name, folders in {
        "annotate": ["scenes", "out-annotate"],
        "validate": ["scenes", "annotated", "out-validate", "docs"],
        "shard": ["scenes", "annotated", "validation", "out-shard"],
    }.items():
        seconds, peaks = {}, {}
        for size in (small, large):
            paths = [str(packed(size) / folder) for folder in folders]
            seconds[size], peaks[size] = map(float, printed_by(STAGE.format(name=name), *paths)[-2:])
        each = {size: 1000 * found / size for size, found in seconds.items()}
        sides = f"{each[large]:.2f} against {each[small]:.2f} ms at {large} and {small}"
        yield Bar(f"{name}: time a sample, large / small", each[large] / each[small], None, 1.1, sides)
        memory = (peaks[large] - peaks[small]) / (large - small)
        peak = f"{peaks[large] / 1e6:.0f} MB at {large}"
        yield Bar(f"{name}: memory of the stage, bytes a sample", memory, None, 1000, peak)


def packing(samples: int) -> Iterator[Bar]:
    """Stage `shard` beside the same packing in a loop, in one process."""
    root = packed(samples)
    ratios, sides = [], ""
    for turn in range(ROUNDS):
        Path(f"loop-{turn}").mkdir()
        began = time.perf_counter()
        for job in shard.jobs(
            Manifest(root / "annotated"), 500, root / "scenes", root / "annotated", Path(f"loop-{turn}")
        ):
            pack(job)
        loop = time.perf_counter() - began
        began = time.perf_counter()
        shard.main(root / "scenes", root / "annotated", root / "validation", root / f"again-{turn}")
        whole = time.perf_counter() - began
        ratios.append(loop / whole)
        sides = f"{whole:.1f} against {loop:.1f} s, {samples} samples, {cores()} cores"
    yield Bar("stage shard: times as fast as a plain loop", median(ratios), 1.8, None, sides)

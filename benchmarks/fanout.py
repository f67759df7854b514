"""Stage `annotate` in one process, over processes, and over Prefect tasks, here and on two Dask workers.

python -m benchmarks.fanout
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from distributed import LocalCluster

from benchmarks.dataset import ROUNDS, draw_scenes, link
from benchmarks.outcome import printed_by
from usd.parallel import single_thread

STAGE = """
import os, sys, time
from pathlib import Path
from prefect import flow
import benchmarks.fanout
from flows.fanout import environment
from usd.parallel import SPREAD
from usd.stages import annotate

way, dask, out = sys.argv[1:]

def seconds():
    began = time.perf_counter()
    annotate.main(Path("of/scenes"), Path(out))
    return time.perf_counter() - began

@flow
def within_a_flow():
    os.environ.update(environment(dask or None))
    return seconds()

if way == "one process":
    os.environ[SPREAD] = "benchmarks.fanout:loop"
print(within_a_flow() if "task" in way else seconds())
"""
WAYS = ("one process", "processes", "Prefect tasks", "Prefect tasks on two Dask workers")


@contextmanager
def loop(work: Callable[[Any], Any], items: Iterator[Any], *_: object) -> Iterator[Iterator[Any]]:
    """Stands in for `usd.parallel.processes`: everything in this process."""
    single_thread()
    yield map(work, items)


def main(samples: Annotated[int, typer.Option(help="Samples of the linked dataset.")] = 8_000) -> None:
    """Time all ways in turns; the time includes the start of processes and tasks, not that of server and cluster."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        draw_scenes(Path(folder, "project"))
        link(samples, Path("of"))
        os.environ |= {"PREFECT_HOME": str(Path(folder, "prefect")), "PREFECT_LOGGING_LEVEL": "ERROR"}
        os.environ |= {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        os.environ.pop("PREFECT_API_URL", None)
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:  # type: ignore[no-untyped-call]
            for turn in range(ROUNDS):
                for number, way in enumerate(WAYS):
                    dask = cluster.scheduler_address if "Dask" in way else ""
                    seconds[way].append(float(printed_by(STAGE, way, dask, f"out-{number}-{turn}")[-1]))
        os.chdir("/")
    print(f"| annotate, {samples} samples | seconds | times as fast as in one process |\n|---|---|---|")
    for way, found in seconds.items():
        ratios = [alone / it for alone, it in zip(seconds[WAYS[0]], found, strict=True)]
        print(f"| {way} | {median(found):.1f} | {median(ratios):.2f} |")


if __name__ == "__main__":
    typer.run(main)

"""Ordered work over processes, with a progress bar."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from rich.progress import track

SINGLE_THREADED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(
    work: Callable[[Item], Result], items: Iterable[Item], title: str, workers: int | None = None, chunk: int = 8
) -> Iterator[Result]:
    """`map` over processes, in order, under a progress bar with ETA; the first exception ends it."""
    todo = list(items)
    os.environ.update(dict.fromkeys(SINGLE_THREADED, "1"))  # spawned workers inherit it: a core each
    with ProcessPoolExecutor(workers or cores(), mp_context=get_context("spawn")) as pool:
        yield from track(pool.map(work, todo, chunksize=chunk), description=title, total=len(todo))

"""Ordered work over processes, with a progress bar."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from rich.progress import track

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
    # forked workers need not import torch again; each keeps to one thread, as the workers share the cores
    context = get_context("fork" if hasattr(os, "fork") else "spawn")
    with ProcessPoolExecutor(workers or cores(), mp_context=context, initializer=_single_thread) as pool:
        results = pool.map(work, todo, chunksize=chunk)  # forks here, before the bar starts its thread
        yield from track(results, description=title, total=len(todo))


def _single_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)

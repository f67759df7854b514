"""Ordered work over processes, with a progress bar."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pkgutil import resolve_name
from typing import TypeVar

from rich.progress import track

SPREAD = "USD_SPREAD"  # environment variable: "module:function" that stands in for `processes`, as flows.fanout has it
Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(work: Callable[[Item], Result], items: Iterable[Item], title: str, chunk: int = 8) -> Iterator[Result]:
    """`map` over processes, in order, under a progress bar with ETA; the first exception ends it."""
    todo = list(items)
    spread = resolve_name(os.environ[SPREAD]) if SPREAD in os.environ else processes
    with spread(work, todo, title, chunk) as results:  # forks here, before the bar starts its thread
        yield from track(results, description=title, total=len(todo))


@contextmanager
def processes(work: Callable[[Item], Result], items: list[Item], title: str, chunk: int) -> Iterator[Iterator[Result]]:
    """The results from processes of this machine, one to a core."""
    # forked workers need not import torch again
    context = get_context("fork" if hasattr(os, "fork") else "spawn")
    with ProcessPoolExecutor(cores(), mp_context=context, initializer=single_thread) as pool:
        yield pool.map(work, items, chunksize=chunk)


def single_thread() -> None:
    """Keep this process to one thread, as the workers share the cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)

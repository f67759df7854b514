"""Ordered work over processes, with a progress bar; USD_DASK spreads it over a Dask cluster.

The cluster's workers run in the project's folder, or in one that shows the same files.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

from rich.progress import track

from usd.errors import UsdError

CLUSTER = "USD_DASK"  # environment variable: the address of a scheduler, such as tcp://10.0.0.5:8786
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
    with _executor(workers or cores()) as executor:
        results = executor.map(work, todo, chunksize=chunk)  # forks here, before the bar starts its thread
        yield from track(results, description=title, total=len(todo))


@contextmanager
def _executor(workers: int) -> Iterator[Executor]:
    """Processes of this machine, or the workers of the Dask cluster whose scheduler USD_DASK names."""
    address = os.environ.get(CLUSTER)
    if address:
        with _cluster(address) as client:
            yield client.get_executor(pure=False)
        return
    # forked workers need not import torch again; each keeps to one thread, as the workers share the cores
    context = get_context("fork" if hasattr(os, "fork") else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_single_thread) as pool:
        yield pool


def _cluster(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise UsdError(f"{CLUSTER}: Dask is not installed; `pip install -e '.[dask]' -c constraints.txt`") from None
    try:
        return Client(address, timeout=5)
    except (OSError, ValueError) as error:
        raise UsdError(f"{CLUSTER}: no Dask scheduler at {address} ({error}); start one or unset it") from error


def _single_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)

"""Ordered work over processes, with a progress bar, in memory that does not grow with the number of items."""

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from pkgutil import resolve_name
from threading import Thread, current_thread, main_thread
from typing import Any, TypeVar

from rich.progress import track

from usd.errors import UsdError

SPREAD = "USD_SPREAD"  # environment variable: "module:function" that stands in for `processes`, as flows.fanout has it
CHUNK_BYTES = 4 * 2**20  # what the items of a chunk read and write together, about
LONGEST_CHUNK = 64  # items
AHEAD = 4  # chunks that wait for each core
Input = TypeVar("Input")
Result = TypeVar("Result")


def cores() -> int:
    """The processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(
    work: Callable[[Input], Result],
    items: Iterable[Input],
    title: str,
    total: int,
    item_bytes: int = CHUNK_BYTES // 8,
    serial_below: int = 0,
) -> Iterator[Result]:
    """`map` over processes, in order, under a progress bar with ETA; the first exception ends it.

    Args:
        work: a function of a module, of one item.
        items: taken as they are needed, a few chunks ahead.
        title: of the progress bar.
        total: how many items there are.
        item_bytes: about how many bytes an item reads and writes; the larger, the fewer go to a process together.
        serial_below: with fewer items, this process does them itself, as starting others takes longer than the work.
    """
    if total < serial_below:
        yield from map(work, items)
        return
    chunk = max(1, min(LONGEST_CHUNK, CHUNK_BYTES // max(1, item_bytes)))
    spread = resolve_name(os.environ[SPREAD]) if SPREAD in os.environ else processes
    with spread(work, iter(items), total, title, chunk) as results:  # forks here, before the bar starts its thread
        yield from track(results, description=title, total=total)


@contextmanager
def processes(
    work: Callable[[Input], Result], items: Iterator[Input], total: int, title: str, chunk: int
) -> Iterator[Iterator[Result]]:
    """The results from processes of this machine, one to a core; an exception, Ctrl-C too, ends them at once."""
    stop_opencv_threads()
    # forked workers need not import torch again
    context = get_context("fork" if hasattr(os, "fork") else "spawn")
    others = set(active_children())
    pool = ProcessPoolExecutor(cores(), mp_context=context, initializer=_prepare)
    try:
        with _interrupts_wait():
            pool.submit(int)  # starts all processes
        yield _in_order(pool, work, items, chunk)
    except BrokenProcessPool as error:
        raise UsdError(
            f"{title}: a worker process was killed, perhaps for lack of memory; free some, and run again"
        ) from error
    except BaseException:
        for process in set(active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, work: Callable[[Input], Result], items: Iterator[Input], chunk: int
) -> Iterator[Result]:
    """Results in the items' order; as many chunks are waiting or done as keep all processes busy."""
    return ahead((pool.submit(_work_through, work, part) for part in portions(items, chunk)), AHEAD * cores())


def portions(items: Iterator[Input], size: int) -> Iterator[list[Input]]:
    """Lists of `size` items, the last of which may have fewer."""
    while part := list(islice(items, size)):
        yield part


def ahead(submitted: Iterator[Any], count: int) -> Iterator[Any]:
    """The results of futures, each a list, in order; `count` of the futures are submitted at once and ahead."""
    waiting = deque(islice(submitted, count))

    def results() -> Iterator[Any]:
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(islice(submitted, 1))
            yield from done

    return results()


def _work_through(work: Callable[[Input], Result], items: list[Input]) -> list[Result]:
    return [work(item) for item in items]


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C comes after the block.

    While Python forks, it drops an interrupt, or knows nothing of a process that it has just started. Other threads
    than the main one get no interrupts.
    """
    if current_thread() is not main_thread():
        yield
        return
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        signal.raise_signal(signal.SIGINT)


def _prepare() -> None:
    """Let Ctrl-C end a worker in the middle of its item: an exception would only make it go on to the next one.

    A worker ends with the command, too, however that ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    single_thread()


def _end_with(command: BaseProcess) -> None:
    command.join()
    os._exit(1)


def stop_opencv_threads() -> None:
    """End OpenCV's threads in this process, as must be done before it forks.

    They do not survive a fork, but the locks that they hold do, and a worker would wait for these forever.
    """
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def single_thread() -> None:
    """Keep this process to one thread, as the workers share the cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    stop_opencv_threads()

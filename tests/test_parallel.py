"""Work over processes; tests/flows/test_fanout.py has it over Prefect tasks."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import islice

import pytest

from tests.conftest import ROOT
from usd.errors import UsdError
from usd.parallel import AHEAD, CHUNK_BYTES, cores, parallel_map

pytestmark = pytest.mark.slow


def half(number: int) -> int:
    if number % 2:
        raise UsdError(f"{number} is odd")
    return number // 2


def test_results_come_in_order_and_the_first_error_ends_it() -> None:
    assert list(parallel_map(half, range(0, 100, 2), "half", 50, CHUNK_BYTES // 3)) == list(range(50))
    with pytest.raises(UsdError, match="3 is odd"):
        list(parallel_map(half, [0, 2, 3, 4], "half", 4, CHUNK_BYTES))


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []
    items = (taken.append(number) or number for number in range(0, 20_000, 2))  # type: ignore[func-returns-value]
    results = parallel_map(half, items, "half", 10_000, CHUNK_BYTES)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= AHEAD * cores() + 3
    results.close()  # type: ignore[attr-defined]


def process(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize(("count", "serial"), [(0, True), (2, True), (3, False)])
def test_few_items_stay_in_this_process(count: int, serial: bool) -> None:
    found = list(parallel_map(process, range(count), "process", count, serial_below=3))
    assert (len(found), {os.getpid()} >= set(found)) == (count, serial)


HEEDING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # programs in a shell's background ignore it
"""

SLEEPER = """
import os, sys, time
from usd.parallel import AHEAD, CHUNK_BYTES, cores, parallel_map

def sleep(number):
    os.write(1, f"pid {os.getpid()}\\n".encode())
    time.sleep(30)
list(parallel_map(sleep, range(8), "sleep", 8, CHUNK_BYTES // 4))
"""


THREADED = """
import cv2, numpy as np
from usd.parallel import parallel_map

cv2.setNumThreads(4)
cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (900, 900))  # starts OpenCV's threads
print(list(parallel_map(abs, range(4), "abs", 4)))
"""


def test_threads_of_opencv_do_not_hang_the_workers() -> None:
    done = subprocess.run([sys.executable, "-c", THREADED], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "[0, 1, 2, 3]" in done.stdout, done.stderr


@pytest.mark.parametrize("whole_group", [True, False])  # as a terminal sends it, and to the command alone
def test_ctrl_c_ends_the_workers_at_once(whole_group: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HEEDING + SLEEPER], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout
        workers = [int(line.split()[1]) for line in islice((x for x in running.stdout if "pid" in x), cores())]
        began = time.monotonic()
        os.killpg(running.pid, signal.SIGINT) if whole_group else os.kill(running.pid, signal.SIGINT)
        assert running.wait(20) != 0
        assert time.monotonic() - began < 10
        for worker in workers:
            with pytest.raises(ProcessLookupError):
                os.kill(worker, 0)


@pytest.mark.parametrize("hooks", ["before", "after_in_parent", "after_in_parent after_in_child"])
def test_ctrl_c_while_the_workers_are_forked_is_not_lost(hooks: str) -> None:
    """Python itself drops an exception there."""
    interrupt = ", ".join(f"{hook}=lambda: signal.raise_signal(signal.SIGINT)" for hook in hooks.split())
    code = f"{HEEDING}import os\nos.register_at_fork({interrupt})\n{SLEEPER}"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True
    ) as running:
        try:
            assert running.wait(20) != 0
            assert not group_lives(running.pid)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def group_lives(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_command_however_it_ends(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stdout
        next(line for line in running.stdout if "pid" in line)
        running.send_signal(number)
        assert running.wait(20) == -number
        for _ in range(100):
            if not group_lives(running.pid):
                return
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGKILL)
        pytest.fail("a worker lives")


def test_a_killed_worker_is_one_line() -> None:
    """As the system kills it where memory is short."""
    with pytest.raises(UsdError, match=r"^work: a worker process was killed, perhaps for lack of memory; free some"):
        list(parallel_map(die, range(2), "work", 2))


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

"""The training stream: an exact permutation an epoch, the same whoever reads it and wherever it begins."""

import copyreg
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from math import prod
from multiprocessing import active_children
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tblib import pickling_support
from torch.utils.data import get_worker_info

from tests.serving import wait_for
from usd.data.loader import training_loader
from usd.data.order import permuted
from usd.data.shards import Shards, Split
from usd.data.stream import AHEAD, Packet, StreamItem, TrainingStream
from usd.errors import UsdError
from usd.tasks import TASKS, TRAINED

TASKS_OF = {1: TRAINED[:1], 2: TRAINED[:2], 6: TRAINED}


class Counted:
    """Stands for a split of which only the length matters."""

    root, name = "shards", "train"

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return self.samples


@pytest.fixture(scope="module")
def split(tiny: Path) -> Split:
    return Shards.open(tiny / "shards")["train"]


@settings(deadline=None)
@given(count=st.integers(1, 3000), seed=st.integers(0, 2**32), epoch=st.integers(0, 1000))
def test_a_permutation_is_exact(count: int, seed: int, epoch: int) -> None:
    found = permuted(np.arange(count), count, (seed, epoch))
    assert np.array_equal(np.sort(found), np.arange(count))


def test_all_orders_are_about_as_likely() -> None:
    orders = [tuple(permuted(np.arange(4), 4, (seed,))) for seed in range(2400)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24
    assert min(counts) > 60
    assert max(counts) < 140


@settings(deadline=None)
@given(
    samples=st.integers(2, 200),
    seed=st.integers(0, 99),
    tasks=st.sampled_from([1, 2, 6]),
    batch_size=st.integers(1, 4),
    world=st.integers(1, 4),
    start=st.integers(0, 300),
)
def test_the_order_is_the_same_for_any_ranks_batch_size_and_start(
    samples: int, seed: int, tasks: int, batch_size: int, world: int, start: int
) -> None:
    def items(index: int, batch_size: int, rank: int = 0, world: int = 1) -> list[StreamItem]:
        split = Counted(samples)
        return TrainingStream(split, seed, batch_size, 0.0, index, rank, world, TASKS_OF[tasks]).items(index)  # type: ignore[arg-type]

    shared = [item for rank in range(world) for item in items(start, batch_size, rank, world)]
    size = batch_size * world
    one_by_one = [item for index in range(start * size, (start + 1) * size) for item in items(index, 1)]
    assert shared == one_by_one


@settings(deadline=None)
@given(samples=st.integers(2, 100), seed=st.integers(0, 99))
def test_an_epoch_has_every_sample_once_as_query_and_once_as_example(samples: int, seed: int) -> None:
    stream = TrainingStream(Counted(samples), seed, samples, 0.0, tasks=TRAINED[:1])  # type: ignore[arg-type]
    first, second = stream.items(0), stream.items(1)
    for epoch, items in enumerate((first, second)):
        assert {item.epoch for item in items} == {epoch}
        assert sorted(item.query for item in items) == list(range(samples))
        assert sorted(item.example for item in items) == list(range(samples))
        assert all(item.query != item.example for item in items)
    assert samples < 5 or [item.query for item in first] != [item.query for item in second]


@pytest.mark.parametrize(("workers", "run"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_workers_and_restarts_do_not_change_a_bit(
    split: Split, workers: int, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(islice(training_loader(TrainingStream(split, 3, 1, 0.5), 0), 15))
    stream = TrainingStream(split, 3, 1, 0.5, start=2)
    monkeypatch.setattr("usd.data.loader.RUN_BYTES", run * prod(stream.shape))  # so few that places are used again
    helped = list(islice(training_loader(stream, workers), 13))
    for a, b in zip(whole[2:], helped, strict=True):
        assert (a.keys, a.index, a.prompts, a.example_prompts) == (b.keys, b.index, b.prompts, b.example_prompts)
        for name in ("task", "query", "target", "example_source", "example_target"):
            assert torch.equal(getattr(a, name), getattr(b, name))


def test_a_batch_holds_what_its_tasks_ask_for(split: Split) -> None:
    batch = next(training_loader(TrainingStream(split, 3, 2, 0.0), 0))
    assert batch.query.shape == (12, 3, 64, 64)
    assert batch.task.bincount().tolist() == [2] * 6
    for number, (task, key) in enumerate(zip(batch.task.tolist(), batch.keys, strict=True)):
        name = TRAINED[task]
        for field, found in ((name.source, batch.query), (name.target, batch.target)):
            picture = torch.from_numpy(split.pictures([key], field)[0]).movedim(-1, 0)
            assert torch.equal((found[number] * 255).round().byte(), picture)
        assert batch.prompts[number] == name.prompt(split.caption(key), named=True)
    assert f"task {TRAINED[0].name}, keys {batch.keys[0]}, {batch.keys[6]}; task" in batch.label


def test_untrained_tasks_get_their_fields(split: Split) -> None:
    tasks = (TASKS["image2canny"], TASKS["normal2image"])
    batch = next(training_loader(TrainingStream(split, 3, 1, 0.0, tasks=tasks), 0))
    canny = torch.from_numpy(split.pictures(batch.keys[:1], "canny")[0]).movedim(-1, 0)
    assert torch.equal((batch.target[0] * 255).round().byte(), canny)


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_in_a_worker_is_one_line(tiny: Path, split: Split, workers: int, monkeypatch) -> None:
    monkeypatch.setattr(Split, "decode", lambda *_: (_ for _ in ()).throw(UsdError("train-0000.tar: damaged")))
    with pytest.raises(UsdError) as error:
        next(training_loader(TrainingStream(split, 3, 1, 0.5), workers))
    assert str(error.value) == "train-0000.tar: damaged"


class Unreadable(TrainingStream):
    """Of two workers' micro-batches neither can be read, which the first finds out later."""

    def packets(self, *_: object) -> Iterator[Packet]:
        worker = get_worker_info()
        assert worker
        time.sleep(2 - 2 * worker.id)
        raise UsdError("unreadable")
        yield


def test_workers_end_with_their_error_even_if_errors_keep_their_tracebacks(split: Split, monkeypatch) -> None:
    """As they do between processes where Dask is loaded."""
    monkeypatch.setitem(copyreg.dispatch_table, UsdError, pickling_support.pickle_exception)
    monkeypatch.setitem(copyreg.dispatch_table, TracebackType, pickling_support.pickle_traceback)
    before = set(active_children())
    with pytest.raises(UsdError, match="unreadable"):
        next(training_loader(Unreadable(split, 3, 1, 0.5), 2))
    wait_for(lambda: set(active_children()) <= before, 20)


def test_a_worker_that_ends_early_is_not_taken_for_one_that_crashed(split: Split, monkeypatch) -> None:
    """Where a Prefect flow ran, whatever a process that is forked later does, its exit code is 1."""

    def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr(threading, "_shutdown", fail)
    with pytest.raises(UsdError, match="unreadable"):
        next(training_loader(Unreadable(split, 3, 1, 0.5), 2))


def test_a_worker_ends_when_it_is_told_to_whatever_the_command_does_then(
    split: Split, request: pytest.FixtureRequest
) -> None:
    before, handler = set(active_children()), signal.signal(signal.SIGTERM, signal.SIG_IGN)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, handler))
    batches = training_loader(TrainingStream(split, 1, 1, 0.5), 1)
    next(batches)
    (worker,) = set(active_children()) - before
    worker.terminate()
    with suppress(RuntimeError):  # by which torch says that a worker was killed
        worker.join(10)
    assert worker.exitcode == -signal.SIGTERM


def test_a_picture_of_another_size_is_named(split: Split) -> None:
    stream = TrainingStream(split, 3, 1, 0.5)
    stream.shape = (4, 6, 32, 32, 3)  # as if the first sample were smaller
    with pytest.raises(UsdError, match=r"train-\d+\.\w+\.png is \(64, 64, 3\), but others \(32, 32, 3\)"):
        next(training_loader(stream, 0))


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 3])
def test_a_given_list_of_micro_batches_is_read_to_its_end(
    split: Split, count: int, remote: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usd.data.stream.is_remote", lambda _: remote)
    stream = TrainingStream(split, 3, 1, 0.5)
    assert [packet.index for packet in stream.packets(iter(range(5, 5 + count)))] == list(range(5, 5 + count))


def test_one_sample_is_too_few() -> None:
    with pytest.raises(UsdError, match="split 'train' has one sample"):
        TrainingStream(Counted(1), 3, 1, 0.5)  # type: ignore[arg-type]

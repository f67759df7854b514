"""Batches on a device, decoded in other processes."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice, repeat
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from usd.data.stream import Packet, TrainingStream
from usd.errors import UsdError
from usd.parallel import single_thread, stop_opencv_threads
from usd.tasks import Task

AHEAD = 2  # runs of micro-batches that a worker prepares before they are asked for
RUN_BYTES = 2**20  # of the pictures in a run, about: small micro-batches go through the queue together, and a
# worker's places fit into the cache of its core


@dataclass(frozen=True)
class Batch:
    """Items of several tasks. Pictures are (B, 3, H, W) float in [0, 1]."""

    tasks: tuple[Task, ...]
    task: Tensor  # (B,) long: each item's place in `tasks`
    query: Tensor
    target: Tensor
    example_source: Tensor
    example_target: Tensor
    prompts: list[str]  # of the queries
    example_prompts: list[str]
    keys: list[str]  # of the queries
    index: int  # the micro-batch's number in the stream
    latents: Tensor | None = None  # (B, C, h, w) of the targets, where `usd encode` has computed them
    text: Tensor | None = None  # (B, L, D) of the prompts

    @property
    def label(self) -> str:
        """What an error message says of it."""
        keys = {
            number: [k for k, t in zip(self.keys, self.task.tolist(), strict=True) if t == number]
            for number in sorted(set(self.task.tolist()))
        }
        return "; ".join(f"task {self.tasks[number].name}, keys {', '.join(found)}" for number, found in keys.items())


class Slots:
    """Shared memory for the pictures on their way from the workers: a queue would copy them into new memory each time.

    A worker hands over `run` micro-batches together, and prepares at most AHEAD such runs beside the one that is in
    use. So it fills (AHEAD + 1) · run places in turn.
    """

    def __init__(self, stream: TrainingStream, workers: int) -> None:
        self.start, self.workers = stream.start, workers
        self.run = max(1, RUN_BYTES // prod(stream.shape))
        self.memory = torch.empty(workers, AHEAD + 1, self.run, *stream.shape, dtype=torch.uint8).share_memory_()

    def buffer(self, index: int) -> Tensor:
        """That of a micro-batch, by its number."""
        run, number = divmod(index - self.start, self.run)
        turn, worker = divmod(run, self.workers)
        found: Tensor = self.memory[worker, turn % (AHEAD + 1), number]
        return found

    def indices(self, worker: int) -> Iterator[int]:
        """The numbers of a worker's micro-batches: every run that is its turn."""
        for first in count(self.start + worker * self.run, self.workers * self.run):
            yield from range(first, first + self.run)


def training_loader(stream: TrainingStream, workers: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """Batches of the stream on `device`, decoded in `workers` processes."""
    stop_opencv_threads()
    slots = Slots(stream, workers or 1)
    loader: DataLoader[list[Packet] | UsdError] = DataLoader(
        _Worker(stream, slots),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_prepare,
        collate_fn=_keep,
    )
    for packets in loader:
        if isinstance(packets, UsdError):
            raise packets
        for packet in packets:
            yield _batch(packet, slots.buffer(packet.index), stream.tasks, device)


class _Worker(IterableDataset[list[Packet] | UsdError]):
    """A worker's share of the stream.

    An error is handed over as a value, since it would come with a traceback if it were raised; as a new one, since Dask
    lets errors keep their tracebacks between processes, which would keep the loader, too; and again and again, since a
    worker that ends before the error has been read may be taken for one that crashed.
    """

    def __init__(self, stream: TrainingStream, slots: Slots) -> None:
        self.stream, self.slots = stream, slots

    def __iter__(self) -> Iterator[list[Packet] | UsdError]:
        worker = get_worker_info()
        packets = self.stream.packets(self.slots.indices(worker.id if worker else 0), self.slots.buffer)
        try:
            while True:
                yield [replace(packet, pictures=None) for packet in islice(packets, self.slots.run)]
        except UsdError as error:
            yield from repeat(UsdError(str(error)))


def _batch(packet: Packet, pictures: Tensor, tasks: tuple[Task, ...], device: torch.device | str) -> Batch:
    """Copy 8 bits a value, and make them floats where they are used."""

    def moved(part: Tensor) -> Tensor:
        part = part.pin_memory() if torch.device(device).type == "cuda" else part  # a GPU copies while it computes
        return part.to(device, non_blocking=True)

    planes = moved(pictures).movedim(-1, -3)  # (4, B, 3, H, W)
    query, target, example_source, example_target = planes.to(
        torch.float32, memory_format=torch.contiguous_format
    ).div_(255)
    latents, text = (part if part is None else moved(part).float() for part in (packet.latents, packet.text))
    return Batch(
        tasks,
        moved(torch.tensor(packet.task)),
        query,
        target,
        example_source,
        example_target,
        packet.prompts[: len(packet.keys)],
        packet.prompts[len(packet.keys) :],
        packet.keys,
        packet.index,
        latents,
        text,
    )


def _prepare(_: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # else a flow's own handler, inherited, would keep a worker alive
    single_thread()


def _keep(packet: Any) -> Any:
    return packet

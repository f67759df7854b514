"""Batches on a device, decoded in other processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from usd.data.stream import Packet, TrainingStream
from usd.errors import UsdError
from usd.parallel import single_thread, stop_opencv_threads
from usd.tasks import Task


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


def training_loader(stream: TrainingStream, workers: int, device: torch.device | str = "cpu") -> Iterator[Batch]:
    """Batches of the stream on `device`, decoded in `workers` processes."""
    stop_opencv_threads()
    loader: DataLoader[Packet | UsdError] = DataLoader(
        _Worker(stream),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=_prepare,
        collate_fn=_keep,
        pin_memory=torch.device(device).type == "cuda",
    )
    for packet in loader:
        if isinstance(packet, UsdError):
            raise packet
        yield _batch(packet, stream.tasks, device)


class _Worker(IterableDataset[Packet | UsdError]):
    """A worker's share of the stream. An error is handed over as it is: raised, it would come with a traceback."""

    def __init__(self, stream: TrainingStream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Packet | UsdError]:
        worker = get_worker_info()
        try:
            yield from self.stream.packets(worker.id, worker.num_workers) if worker else self.stream.packets()
        except UsdError as error:
            yield error


def _batch(packet: Packet, tasks: tuple[Task, ...], device: torch.device | str) -> Batch:
    """Copy 8 bits a value, and make them floats where they are used."""
    pictures = packet.pictures.to(device, non_blocking=True).movedim(-1, -3).float() / 255  # (4, B, 3, H, W)
    query, target, example_source, example_target = pictures.contiguous()
    latents, text = (
        part if part is None else part.to(device, non_blocking=True).float() for part in (packet.latents, packet.text)
    )
    return Batch(
        tasks,
        torch.tensor(packet.task).to(device, non_blocking=True),
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
    single_thread()


def _keep(packet: Any) -> Any:
    return packet

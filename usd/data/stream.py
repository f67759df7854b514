"""The training stream: an endless sequence of items whose every part is a function of its position.

An item is a query, a task and an example: another sample of the same task. Position p belongs to epoch p // N of the
N samples. Its query is the sample at place p % N of the epoch's permutation, its example the one a fixed distance
further on; so in an epoch every sample is a query once and an example once, and never its own example. Its task is
p % T of the T tasks.

Micro-batch m of the whole training is the positions m·G … (m+1)·G, and rank r of R takes the r-th of R equal slices of
it. Its workers take runs of micro-batches in turn. Nothing is dropped or padded: a micro-batch that reaches the end of
an epoch goes on in the next one. So the order does not depend on ranks, workers, shards or the place of a restart.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from usd.data.encoded import Encoded, LatentKey
from usd.data.order import permuted, words
from usd.data.shards import Split, Wanted
from usd.data.storage import is_remote
from usd.data.transforms import augment, mirrored_caption
from usd.errors import UsdError
from usd.tasks import TRAINED, Task

AHEAD = 4  # micro-batches that a worker fetches at the same time from object storage
PLANNED = 16  # micro-batches whose items are worked out together
Buffer = Callable[[int], Tensor]  # where the pictures of a micro-batch go, by its number


class StreamItem(NamedTuple):
    """An item of the stream, by the numbers of its samples' rows."""

    query: int
    example: int
    task: int
    epoch: int


@dataclass(frozen=True)
class Loaded:
    """A micro-batch as it is stored."""

    index: int
    items: list[StreamItem]
    wanted: list[Wanted]  # a query and an example an item
    data: Iterable[list[bytes]]  # source and target of each


@dataclass(frozen=True)
class Packet:
    """A micro-batch as it is decoded."""

    index: int
    pictures: Tensor | None  # (4, B, H, W, 3) uint8: query, target, example's source, example's target; None where
    # they are already with the reader, in shared memory
    task: list[int]
    prompts: list[str]  # of the queries, then of the examples
    keys: list[str]
    latents: Tensor | None  # (B, C, h, w) float16, of the targets; None where they are encoded at every step
    text: Tensor | None  # (B, L, D) float16, of the queries' prompts


class TrainingStream:
    """This process's micro-batches from number `start` on; `batch_size` items of each task are in each."""

    def __init__(
        self,
        split: Split,
        seed: int,
        batch_size: int,
        flip: float,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        tasks: tuple[Task, ...] = TRAINED,
        encoded: Encoded | None = None,
    ) -> None:
        self.encoded = encoded
        self.split, self.seed, self.flip, self.start, self.tasks = split, seed, flip, start, tasks
        self._fields = [(task.source, task.target) for task in tasks]
        self.rank, self.world, self.size = rank, world, batch_size * len(tasks)
        if len(split) < 2:
            count = "one sample" if len(split) else "no sample"
            raise UsdError(f"{split.root}: split '{split.name}' has {count}, and an example is another; add samples")

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """That of a micro-batch's pictures, (4, B, H, W, 3), if all are as large as the first."""
        (picture,) = next(self.split.decoded([Wanted(0, ("image",))])).values()
        return 4, self.size, *picture.shape

    def packets(self, indices: Iterator[int] | None = None, buffer: Buffer | None = None) -> Iterator[Packet]:
        """Micro-batches by their numbers, all from `start` on if none are given; `buffer` says where pictures go."""
        plans, buffer = self._plans(indices or count(self.start)), buffer or self._new
        if not is_remote(self.split.root):
            yield from (self._decoded(self._read(*plan), buffer) for plan in plans)
            return
        threads = ThreadPoolExecutor(AHEAD)
        try:
            reading = deque(threads.submit(self._read, *plan) for plan in islice(plans, AHEAD))
            while reading:
                found = reading.popleft().result()
                reading.extend(threads.submit(self._read, *plan) for plan in islice(plans, 1))
                yield self._decoded(found, buffer)
        finally:  # without waiting: Python may collect an abandoned stream in the thread that answers its requests
            threads.shutdown(wait=False, cancel_futures=True)

    def items(self, index: int) -> list[StreamItem]:
        """This process's items of a micro-batch."""
        return next(self._items([index]))

    def packet(self, index: int) -> Packet:
        """A micro-batch, by its number alone."""
        return self._decoded(self._read(index, self.items(index)), self._new)

    def _plans(self, indices: Iterator[int]) -> Iterator[tuple[int, list[StreamItem]]]:
        """Micro-batches with their items, some at a time: NumPy takes as long for one of them."""
        while few := list(islice(indices, PLANNED)):
            yield from zip(few, self._items(few), strict=True)

    def _items(self, indices: list[int]) -> Iterator[list[StreamItem]]:
        """This process's items of each of these micro-batches."""
        samples = len(self.split)
        firsts = (np.array(indices) * self.world + self.rank) * self.size
        positions = (firsts[:, None] + np.arange(self.size)).ravel()
        epochs, places = np.divmod(positions, samples)
        query, example = np.empty_like(positions), np.empty_like(positions)
        for epoch in set(epochs.tolist()):
            here, seed = epochs == epoch, (self.seed, epoch)
            query[here] = permuted(places[here], samples, seed)
            example[here] = permuted((places[here] + self._distance(seed)) % samples, samples, seed)
        columns = np.stack((query, example, positions % len(self.tasks), epochs), axis=1)
        for part in np.split(columns, len(indices)):
            yield [StreamItem(*numbers) for numbers in part.tolist()]

    def _distance(self, seed: tuple[int, ...]) -> int:
        """How far an example is from its query in an epoch's permutation."""
        return 1 + int(words(seed)[-1]) % (len(self.split) - 1)

    def wanted(self, item: StreamItem) -> tuple[Wanted, Wanted]:
        """Source and target of an item's query and of its example."""
        fields = self._fields[item.task]
        return Wanted(item.query, fields), Wanted(item.example, fields)

    def _new(self, _: int) -> Tensor:
        return torch.empty(self.shape, dtype=torch.uint8)

    def _read(self, index: int, items: list[StreamItem]) -> Loaded:
        wanted = [each for item in items for each in self.wanted(item)]
        remote = is_remote(self.split.root)
        return Loaded(index, items, wanted, self.split.read(wanted) if remote else self.split.each(wanted))

    def _decoded(self, found: Loaded, buffer: Buffer) -> Packet:
        """Decode and augment, into the buffer that the pictures have."""
        items, rows, pictures = found.items, self.split.rows, buffer(found.index)
        into = pictures.numpy()
        keys = [rows.key(wanted.number) for wanted in found.wanted]
        mirrored: list[bool] = []
        for number, (wanted, data) in enumerate(zip(found.wanted, found.data, strict=True)):
            place, example = divmod(number, 2)
            decoded = self.split.decode(wanted, data, into[2 * example : 2 * example + 2, place])
            mirrored.append(augment(decoded, self.flip, (self.seed, items[place].epoch), keys[number]))
        of = [self.tasks[item.task] for item in items]
        prompts = [
            self._prompt(task, wanted.number, flipped)
            for role in range(2)
            for task, wanted, flipped in zip(of, found.wanted[role::2], mirrored[role::2], strict=True)
        ]
        states = self._encoded(items, mirrored[::2])
        return Packet(found.index, pictures, [item.task for item in items], prompts, keys[::2], *states)

    def _prompt(self, task: Task, number: int, flipped: bool) -> str:
        if task.direction == "image2map":  # whatever the caption
            return task.prompt("", named=True)
        caption = self.split.rows.caption(number)
        return task.prompt(mirrored_caption(caption) if flipped else caption, named=True)

    def _encoded(self, items: list[StreamItem], mirrored: list[bool]) -> tuple[Tensor | None, Tensor | None]:
        """Latents of the targets and text states of the prompts, where they are kept beside the shards."""
        if self.encoded is None:
            return None, None
        tasks = [self.tasks[item.task] for item in items]
        targets = [
            LatentKey(item.query, task.target, flipped)
            for item, task, flipped in zip(items, tasks, mirrored, strict=True)
        ]
        fixed = [task.map.prompt if task.direction == "image2map" else None for task in tasks]
        latents = self.encoded.latents(targets)
        text = self.encoded.text([item.query for item in items], fixed, mirrored)
        return torch.from_numpy(latents), torch.from_numpy(text)

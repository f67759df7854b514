"""The training stream: an endless sequence of items whose every part is a function of its position.

An item is a query, a task and an example: another sample of the same task. Position p belongs to epoch p // N of the
N samples. Its query is the sample at place p % N of the epoch's permutation, its example the one a fixed distance
further on; so in an epoch every sample is a query once and an example once, and never its own example. Its task is
p % T of the T tasks.

Micro-batch m of the whole training is the positions m·G … (m+1)·G, rank r of R takes the r-th of R equal slices of
it, and worker w of W every W-th micro-batch. Nothing is dropped or padded: a micro-batch that reaches the end of an
epoch goes on in the next one. So the order does not depend on ranks, workers, shards or the place of a restart.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from usd.data.encoded import Encoded, Picture
from usd.data.order import permuted, words
from usd.data.shards import Split, Wanted
from usd.data.storage import is_remote
from usd.data.transforms import augment, mirrored_caption
from usd.errors import UsdError
from usd.tasks import TRAINED, Task

AHEAD = 4  # micro-batches that a worker fetches at the same time from object storage


@dataclass(frozen=True)
class Item:
    """One position of the stream, by the numbers of its samples' rows."""

    query: int
    example: int
    task: int
    epoch: int


@dataclass(frozen=True)
class Loaded:
    """A micro-batch as it is stored."""

    index: int
    items: list[Item]
    wanted: list[Wanted]  # four an item
    data: list[bytes]  # of each that is wanted


@dataclass(frozen=True)
class Packet:
    """A micro-batch as a worker hands it over: small and undivided."""

    index: int
    pictures: Tensor  # (4, B, H, W, 3) uint8: query, target, example's source, example's target
    task: list[int]
    prompts: list[str]  # of the queries, then of the examples
    keys: list[str]
    latents: Tensor | None  # (B, C, h, w) float16, of the targets; None where they are encoded at every step
    text: Tensor | None  # (B, L, D) float16, of the queries' prompts

    def pin_memory(self) -> "Packet":
        """The same in page-locked memory, from which a GPU copies while it computes."""
        latents, text = (part if part is None else part.pin_memory() for part in (self.latents, self.text))
        return replace(self, pictures=self.pictures.pin_memory(), latents=latents, text=text)


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
        self.rank, self.world, self.size = rank, world, batch_size * len(tasks)
        if len(split) < 2:
            raise UsdError(f"{split.root}: split '{split.name}' has one sample, and an example is another; add samples")

    def packets(self, first: int = 0, stride: int = 1) -> Iterator[Packet]:
        """Every `stride`-th micro-batch from `start + first` on, endlessly."""
        indices = count(self.start + first, stride)
        if not is_remote(self.split.root):
            yield from map(self.packet, indices)
            return
        with ThreadPoolExecutor(AHEAD) as threads:
            reading = deque(threads.submit(self._read, index) for index in islice(indices, AHEAD))
            for upcoming in indices:
                found = reading.popleft().result()
                reading.append(threads.submit(self._read, upcoming))
                yield self._decoded(found)

    def items(self, index: int) -> list[Item]:
        """This process's items of a micro-batch."""
        samples = len(self.split)
        positions = (index * self.world + self.rank) * self.size + np.arange(self.size)
        epochs, places = np.divmod(positions, samples)
        query, example = np.empty_like(positions), np.empty_like(positions)
        for epoch in set(epochs.tolist()):
            here, seed = epochs == epoch, (self.seed, epoch)
            query[here] = permuted(places[here], samples, seed)
            example[here] = permuted((places[here] + self._distance(seed)) % samples, samples, seed)
        columns = (query, example, positions % len(self.tasks), epochs)
        return [Item(*numbers) for numbers in np.stack(columns, axis=1).tolist()]

    def packet(self, index: int) -> Packet:
        """A micro-batch, by its number alone."""
        return self._decoded(self._read(index))

    def _distance(self, seed: tuple[int, ...]) -> int:
        """How far an example is from its query in an epoch's permutation."""
        return 1 + int(words(seed)[-1]) % (len(self.split) - 1)

    def wanted(self, item: Item) -> list[Wanted]:
        """The fields of an item: source and target of its query, then of its example."""
        task = self.tasks[item.task]
        return [Wanted(number, f) for number in (item.query, item.example) for f in (task.source, task.target)]

    def _read(self, index: int) -> Loaded:
        items = self.items(index)
        wanted = [each for item in items for each in self.wanted(item)]
        return Loaded(index, items, wanted, self.split.read(wanted))

    def _decoded(self, found: Loaded) -> Packet:
        items, rows = found.items, self.split.rows
        epochs = [item.epoch for item in items for _ in range(2)]
        pictures: np.ndarray | None = None  # (4, B, H, W, 3)
        mirrored: list[bool] = []  # of each query, then its example
        for number, epoch in enumerate(epochs):  # two samples an item, two fields a sample
            pair = slice(2 * number, 2 * number + 2)
            wanted, data = found.wanted[pair], found.data[pair]
            named = {each.field: self.split.decode(each, part) for each, part in zip(wanted, data, strict=True)}
            augmented, was_mirrored = augment(named, self.flip, (self.seed, epoch), rows.key(wanted[0].number))
            mirrored.append(was_mirrored)
            if pictures is None:
                pictures = np.empty((4, len(items), *augmented[wanted[0].field].shape), np.uint8)
            for part, each in enumerate(wanted, 2 * (number % 2)):
                pictures[part, number // 2] = augmented[each.field]
        prompts = [
            self.tasks[item.task].prompt(mirrored_caption(rows.caption(number)) if flipped else rows.caption(number))
            for numbers, flips in (
                ([item.query for item in items], mirrored[::2]),
                ([item.example for item in items], mirrored[1::2]),
            )
            for item, number, flipped in zip(items, numbers, flips, strict=True)
        ]
        keys = [rows.key(item.query) for item in items]
        tasks, states = [item.task for item in items], self._encoded(items, mirrored[::2])
        return Packet(found.index, torch.from_numpy(pictures), tasks, prompts, keys, *states)

    def _encoded(self, items: list[Item], mirrored: list[bool]) -> tuple[Tensor | None, Tensor | None]:
        """Latents of the targets and text states of the prompts, where they are kept beside the shards."""
        if self.encoded is None:
            return None, None
        tasks = [self.tasks[item.task] for item in items]
        targets = [
            Picture(item.query, task.target, flipped)
            for item, task, flipped in zip(items, tasks, mirrored, strict=True)
        ]
        fixed = [task.map.prompt if task.direction == "image2map" else None for task in tasks]
        latents = self.encoded.latents(targets)
        text = self.encoded.text([item.query for item in items], fixed, mirrored)
        return torch.from_numpy(latents), torch.from_numpy(text)

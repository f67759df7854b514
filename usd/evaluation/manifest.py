"""The fixed test manifest, the samples that it names, and the mean maps."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from usd.config import Evaluate
from usd.data.shards import Shards, Split
from usd.errors import UsdError
from usd.evaluation.metrics import per_image_mse
from usd.images import to_tensor
from usd.tasks import Task


@dataclass(frozen=True)
class Item:
    """One line of the manifest: everything that determines the result, independent of batch size and device."""

    task: Task
    query: str  # keys
    example: str
    noise_seed: int


class Samples:
    """A split by key; only what is asked for is read."""

    def __init__(self, split: Split) -> None:
        self.split, self.keys = split, split.keys

    def caption(self, key: str) -> str:
        """What a sample shows."""
        return self.split.caption(key)

    def pictures(self, keys: list[str], field: str) -> Tensor:
        """(B, 3, H, W) in [0, 1]."""
        return to_tensor(self.split.pictures(keys, field))

    def example(self, item: Item, number: int) -> str:
        """The key of an item's example number `number`: the manifest's own, then the keys that follow it."""
        query, first = self.split.number(item.query), self.split.number(item.example)
        place = (first - (first > query) + number) % (len(self.keys) - 1)  # in the ring of all keys but the query
        return self.keys[place + (place >= query)]

    def manifest(self, task: Task, count: int, seed: int) -> list[Item]:
        """`count` items of a task: the first keys as queries, each with another image as its example."""
        _check_count(task.name, count, self.split)
        rng = np.random.default_rng((seed, *task.name.encode()))
        items = []
        for number in range(count):
            example = (number + 1 + int(rng.integers(len(self.keys) - 1))) % len(self.keys)
            items.append(Item(task, self.keys[number], self.keys[example], int(rng.integers(2**31))))
        return items


def check_counts(params: Evaluate, shards: Shards) -> None:
    """Refuse, before anything is sampled, to evaluate more items than a split has.

    Raises:
        UsdError: a number of items is too large; it names the key.
    """
    _check_count("validation_items", params.validation_items, shards["val"])
    _check_count("items", params.items, shards["test"])
    _check_count("unseen_items", params.unseen_items, shards["test"])


def _check_count(name: str, count: int, split: Split) -> None:
    least = max(count, 2)  # an item's example is another sample
    if len(split) < least:
        raise UsdError(
            f"{name}: {count} items need {least} samples, but split '{split.name}' of {split.root} has {len(split)}; "
            "lower the number in section evaluate, benchmark or study of params.yaml, or add samples"
        )


def per_sample(found: Tensor, truth: Tensor, items: list[Item]) -> Iterator[dict[str, object]]:
    """A row an item for the per-sample table."""
    for item, error in zip(items, per_image_mse(found, truth).sqrt().tolist(), strict=True):
        row = {"task": item.task.name, "query": item.query, "example": item.example, "noise_seed": item.noise_seed}
        yield row | {"rmse": round(error, 5)}


def mean_maps(shards: Shards) -> dict[str, Tensor]:
    """The mean training map of every map, (3, H, W): what the trivial predictor answers."""
    return {name: torch.from_numpy(mean).movedim(-1, 0).contiguous() for name, mean in shards.mean_maps().items()}

"""The fixed test manifest, generation over it, and the metrics of both directions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from usd.data.annotators import Annotator, to_tensor
from usd.data.palette import nearest_class
from usd.data.shards import picture, read_split
from usd.data.storage import Root
from usd.determinism import generator
from usd.errors import UsdError
from usd.metrics import FeatureFunction, frechet_distance, kernel_distance, mean_iou, per_image_mse, rmse
from usd.pipeline import USDiffusionPipeline
from usd.tasks import Task


@dataclass(frozen=True)
class Item:
    """One line of the manifest: everything that makes the result, whatever the batch size or device."""

    task: Task
    query: str  # keys
    example: str
    noise_seed: int


class Samples:
    """A split in memory, undecoded, by key."""

    def __init__(self, shards: Root, split: str) -> None:
        self.by_key = {sample["__key__"]: sample for sample in read_split(shards, split)}
        self.keys = list(self.by_key)

    def pictures(self, keys: list[str], field: str) -> Tensor:
        """(B, 3, H, W) in [0, 1]."""
        return to_tensor(np.stack([picture(self.by_key[key], field) for key in keys]))

    def manifest(self, task: Task, count: int, seed: int) -> list[Item]:
        """`count` items of a task: the first keys as queries, each with another image as its example."""
        if len(self.keys) < max(count, 2):
            raise UsdError(f"{task.name}: {count} items asked for, but the split has {len(self.keys)} samples")
        rng = np.random.default_rng((seed, *task.name.encode()))
        items = []
        for number in range(count):
            example = (number + 1 + int(rng.integers(len(self.keys) - 1))) % len(self.keys)
            items.append(Item(task, self.keys[number], self.keys[example], int(rng.integers(2**31))))
        return items


@dataclass(frozen=True)
class Sampling:
    """How a variant is sampled in one direction."""

    timesteps: list[int]  # descending
    guidance_scale: float

    @property
    def nfe(self) -> int:
        """Evaluations of the network per image."""
        return len(self.timesteps) * (2 if self.guidance_scale > 1 else 1)


def generate(
    pipeline: USDiffusionPipeline,
    samples: Samples,
    items: list[Item],
    sampling: Sampling,
    batch_size: int,
    shown: Task | None = None,
    named: str | None = None,
    title: str = "generate",
) -> tuple[Tensor, Tensor]:
    """Results (N, 3, H, W) in [0, 1] and indicators (N, tasks) of the items, in order.

    `shown` is the task of the pairs, if not the items' own; `named` names the indicator instead of inferring it.
    """
    task = items[0].task
    shown = shown or task
    images, indicators = [], []
    pipeline.set_progress_bar_config(disable=True)  # one bar over all items is enough
    for part in track(list(_parts(items, batch_size)), description=title, transient=True):
        examples, queries = [item.example for item in part], [item.query for item in part]
        output = pipeline(
            [task.prompt(samples.by_key[item.query]["caption"]) for item in part],
            (samples.pictures(examples, shown.source), samples.pictures(examples, shown.target)),
            samples.pictures(queries, task.source),
            task=named,
            timesteps=sampling.timesteps,
            guidance_scale=sampling.guidance_scale,
            generator=[generator(item.noise_seed) for item in part],
            output_type="pt",
        )
        images.append(output.images)
        indicators.append(output.indicator.cpu())
    return torch.cat(images), torch.cat(indicators)


def map_metrics(found: Tensor, truth: Tensor, mean_map: Tensor, name: str) -> dict[str, float]:
    """Image2Map: RMSE, the floor of the mean training map, and mIoU for segmentation, AbsRel for depth."""
    scores = {"rmse": rmse(found, truth), "floor": rmse(mean_map.expand_as(truth), truth)}
    scores["floor_ratio"] = scores["rmse"] / scores["floor"]
    if name == "seg":
        scores["miou"] = mean_iou(*(nearest_class((x.movedim(1, -1) * 255).numpy()) for x in (found, truth)))
    if name == "depth":
        inverse = truth.mean(1)
        scores["absrel"] = float(((found.mean(1) - inverse).abs() / inverse.clamp(min=0.05)).mean())
    return scores


def image_metrics(
    found: Tensor, truth: Tensor, query: Tensor, features: FeatureFunction, annotate: Annotator | None
) -> dict[str, float]:
    """Map2Image: Fréchet distance and KID on features, and control adherence where the map has an annotator."""
    real, fake = features(truth), features(found)
    scores = {"fd": frechet_distance(real, fake), "kid": kernel_distance(real, fake)}
    if annotate:
        with torch.no_grad():
            scores["adherence_rmse"] = rmse(annotate(found), query)
            scores["adherence_of_truth"] = rmse(annotate(truth), query)
    return scores


def per_sample(found: Tensor, truth: Tensor, items: list[Item]) -> Iterator[dict[str, object]]:
    """A row an item for the per-sample table."""
    for item, error in zip(items, per_image_mse(found, truth).sqrt().tolist(), strict=True):
        row = {"task": item.task.name, "query": item.query, "example": item.example, "noise_seed": item.noise_seed}
        yield row | {"rmse": round(error, 5)}


def _parts(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

"""Answers that need no training of a variant: what every score is compared with.

- *control branch alone*: the generic control branch, from which all variants start: a ControlNet that is told the task
  by the prompt and sees no example pair, sampled as validation chooses.
- *base alone*: the query is given to the frozen base as x_t at t = 998, with the usual prompt; no control branch,
  adapter or example pair. One evaluation.
- *mean map*: the mean of the training maps.
- *mean colour of the example's target*, *copy of the example's target*, *copy of the query*.
- *other real images*: as many training images as there are items, which shows what a Fréchet distance of this many
  items is for pictures that could not be better.
- *blurred truth*: the truth, shrunk eight times and enlarged again.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from usd import config
from usd.config.values import Strategy
from usd.data.shards import Shards
from usd.determinism import device_for
from usd.diffusion.prediction import clean_estimate
from usd.evaluation.evaluator import Evaluator, Measure, Scored, rounded
from usd.evaluation.files import write_replicates
from usd.evaluation.manifest import Item, Samples
from usd.evaluation.metrics import blurred, efficientnet_features, frechet_distance
from usd.evaluation.names import BASE_ALONE, BLURRED, COLOUR, CONTROL_ALONE, COPY, COPY_QUERY, MEAN_MAP, REAL
from usd.model.base import Base, decode, encode, encode_text, load_base
from usd.model.directory import is_model
from usd.tasks import DIRECTIONS, TASKS, TRAINED, Task

STARTS = (BASE_ALONE, CONTROL_ALONE)  # what variants are trained from
T_BASE_ALONE = 998  # the highest of the ESS timesteps


@dataclass
class Yardsticks:
    """Rows of yardsticks.json, and the bootstrap replicates of what variants are compared with."""

    params: config.Evaluate
    measure: Measure
    rows: list[dict[str, object]] = field(default_factory=list)
    replicates: dict[str, np.ndarray] = field(default_factory=dict)  # "name/task/metric" → (R,)

    def add(self, name: str, task: Task, scored: Scored) -> None:
        """Keep a row."""
        self.rows.append({"name": name, "task": task.name, "items": len(scored.images), **rounded(scored.scores)})
        if name in STARTS:
            for metric, values in scored.replicates(self.params).items():
                self.replicates[f"{name}/{task.name}/{metric}"] = values

    def write(self, folder: Path) -> None:
        """Write yardsticks.json and bootstrap.csv."""
        (folder / "yardsticks.json").write_text(json.dumps(self.rows, indent=1) + "\n")
        write_replicates(self.replicates, folder / "bootstrap.csv")

    def answer(self, base: Base, test: Samples, others: Samples) -> None:
        """All yardsticks of all tasks; `others` are the images of REAL."""
        for task in TASKS.values():
            count = self.params.items if task.map.trained else self.params.unseen_items
            items = test.manifest(task, count, self.params.seed)
            if task.map.trained:
                found = base_alone(base, test, items, self.params.batch_size)
                self.add(BASE_ALONE, task, self.measure(test, items, found))
            if task.direction == "image2map":
                mean = self.measure.means[task.map.name]
                for name, found in trivial(test, items, mean).items():
                    self.add(name, task, self.measure(test, items, found))
        self.add_distances(test, others)

    def answer_by_control(self, control: Evaluator, validation: Samples, test: Samples) -> None:
        """CONTROL_ALONE on all trained tasks, with the same candidates of sampling as a variant."""
        choices = {direction: control.choose(validation, direction) for direction in DIRECTIONS}
        for task in TRAINED:
            best = choices[task.direction].best
            self.add(CONTROL_ALONE, task, control.score(test, task, self.params.items, best))

    def add_distances(self, test: Samples, others: Samples) -> None:
        """Fréchet distances to the truths, which are the same images in every Map2Image task."""
        for count in sorted({self.params.items, self.params.curve_items, self.params.unseen_items}):
            keys = test.keys[:count]
            real = self.measure.truths(test, keys)
            images = test.pictures(keys, "image")
            pictures = {BLURRED: blurred(images)}
            if len(others.keys) >= count:
                pictures[REAL] = others.pictures(others.keys[:count], "image")
            for name, found in pictures.items():
                distance = round(frechet_distance(real, efficientnet_features(found)), 5)
                self.rows.append({"name": name, "task": "map2image", "items": count, "fd": distance})


def score_yardsticks(
    shards: Shards,
    base: str,
    control: Path,
    strategy: Strategy,
    train: config.Train,
    evaluate: config.Evaluate,
    measure: Measure,
) -> Yardsticks:
    """All yardsticks; CONTROL_ALONE only if `control` is a whole model, sampled at the timesteps of `strategy`.

    A ControlNet has no adapter to read the query, and models/no_start is empty.
    """
    device, test = device_for(train.device), Samples(shards["test"])
    found = Yardsticks(evaluate, measure)
    found.answer(load_base(base).freeze().to(device), test, Samples(shards["train"]))
    if is_model(control):
        alone = Evaluator.of_model(control, device, strategy, train.ess_steps, evaluate, measure)
        found.answer_by_control(alone, Samples(shards["val"]), test)
    return found


@torch.no_grad()
def base_alone(base: Base, samples: Samples, items: list[Item], batch_size: int) -> Tensor:
    """What the frozen base makes of the queries, (N, 3, H, W) in [0, 1]."""
    task, device = items[0].task, base.unet.device
    found = []
    for start in range(0, len(items), batch_size):
        part = items[start : start + batch_size]
        query = samples.pictures([item.query for item in part], task.source).to(device)
        text = encode_text(base, [task.prompt(samples.caption(item.query), named=True) for item in part])
        t = torch.full((len(part),), T_BASE_ALONE, device=device)
        x_t = encode(base.vae, query)  # (B, C, h, w)
        prediction = base.unet(x_t, t, text).sample
        estimate = clean_estimate(base.scheduler, prediction, x_t, t)
        found.append(decode(base.vae, estimate).clamp(0, 1).cpu())
    return torch.cat(found)


def trivial(samples: Samples, items: list[Item], mean_map: Tensor) -> dict[str, Tensor]:
    """Answers that look at nothing, or only at what is shown, by name; each (N, 3, H, W)."""
    task = items[0].task
    query = samples.pictures([item.query for item in items], task.source)
    target = samples.pictures([item.example for item in items], task.target)
    return {
        MEAN_MAP: mean_map.expand_as(target),
        COLOUR: target.mean((2, 3), keepdim=True).expand_as(target),
        COPY: target,
        COPY_QUERY: query,
    }

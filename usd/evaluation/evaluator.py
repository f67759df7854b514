"""One variant's scores: the choice of sampling on validation, all metrics on test, and picture grids."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from usd import config
from usd.annotators.small import Annotator
from usd.data.shards import Shards
from usd.diffusion.sampling import Sampling
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.evaluation.manifest import Samples, per_sample
from usd.evaluation.metrics import efficientnet_features, image_metrics, map_metrics, rmse
from usd.evaluation.sampling import generate
from usd.images import to_array, write_grid
from usd.inference.pipeline import USDiffusionPipeline
from usd.tasks import DIRECTIONS, TRAINED, UNSEEN, Direction, Task

Scores = dict[str, float]


@dataclass
class Evaluator:
    """What every part of the evaluation reads."""

    pipeline: USDiffusionPipeline
    annotators: dict[str, Annotator]
    params: config.Evaluate
    strategy: Any  # "ess" or "uniform"
    means: dict[str, Tensor]  # the mean training map, (3, H, W), by map

    def sampling(self, steps: int, guidance: float) -> Sampling:
        """Timesteps of this variant's strategy."""
        return Sampling(sampling_timesteps(self.strategy, steps), guidance)

    def score(
        self, samples: Samples, task: Task, count: int, sampling: Sampling, named: str | None = None
    ) -> tuple[Scores, Tensor, Tensor]:
        """Metrics of a task, its results (N, 3, H, W) and indicators (N, tasks)."""
        items = samples.manifest(task, count, self.params.seed)
        found, indicator = generate(
            self.pipeline, samples, items, sampling, self.params.batch_size, named=named, title=task.name
        )
        keys = [item.query for item in items]
        truth = samples.pictures(keys, task.target)
        if task.direction == "image2map":
            return map_metrics(found, truth, self.means[task.map.name], task.map.name), found, indicator
        query, annotate = samples.pictures(keys, task.source), self.annotators.get(task.map.name)
        return image_metrics(found, truth, query, efficientnet_features, annotate), found, indicator

    def choose(self, samples: Samples, direction: Direction, counts: list[int]) -> dict[str, Any]:
        """Step count and its guidance scale with the least mean error of the trained tasks on validation.

        Every count has a guidance scale of its own; one above 10 has the one that is best with 10.
        """
        metric = "rmse" if direction == "image2map" else "fd"
        tasks = [task for task in TRAINED if task.direction == direction]

        def error(steps: int, guidance: float) -> float:
            count, sampling = self.params.validation_items, self.sampling(steps, guidance)
            return round(float(np.mean([self.score(samples, task, count, sampling)[0][metric] for task in tasks])), 5)

        tried = {
            steps: {guidance: error(steps, guidance) for guidance in self.params.guidance_scales}
            for steps in sorted({10, *(min(count, 10) for count in counts)})
        }

        def best(steps: int) -> tuple[float, float]:
            """The guidance scale with the least error, and that error."""
            return min(tried[min(steps, 10)].items(), key=lambda pair: pair[1])

        steps = min(counts, key=lambda count: best(count)[1])
        guidance, _ = best(steps)
        return {
            "steps": steps,
            "guidance_scale": guidance,
            "guidance_scale_with_10_steps": best(10)[0],
            "nfe": self.sampling(steps, guidance).nfe,
            f"validation_{metric}": tried,
        }


def evaluate(
    evaluator: Evaluator, test: Samples, choices: dict[Direction, dict[str, Any]], out: Path
) -> tuple[dict[str, Any], list[dict[str, object]]]:
    """All metrics and the per-sample rows; grids go to `out`."""
    params = evaluator.params
    metrics: dict[str, Any] = {direction: {} for direction in DIRECTIONS}
    metrics |= {"unseen": {direction: {} for direction in DIRECTIONS}, "sampling": choices, "beside": {}}
    rows: list[dict[str, object]] = []
    hits = []
    for task in (*TRAINED, *UNSEEN):
        choice = choices[task.direction]
        sampling = evaluator.sampling(choice["steps"], choice["guidance_scale"])
        count = params.items if task.map.trained else params.unseen_items
        scores, found, indicator = evaluator.score(test, task, count, sampling)
        require_finite(scores, task)
        items = test.manifest(task, count, params.seed)
        rows += per_sample(found, test.pictures([item.query for item in items], task.target), items)
        if task.map.trained:
            swapped, _ = generate(
                evaluator.pipeline, test, items[: params.grid_items], sampling, params.batch_size, shown=other(task)
            )
            scores["swapped_pair_change"] = rmse(swapped, found[: params.grid_items])
            names = list(evaluator.pipeline.adapter.config.tasks)
            hits.append((indicator.argmax(1) == names.index(task.name)).float().mean())
            metrics[task.direction][task.map.name] = scores
        else:
            swapped = None
            if evaluator.pipeline.adapter.indicator is not None:
                averaged, _, _ = evaluator.score(test, task, count, sampling, named=task.name)
                metric = "rmse" if task.direction == "image2map" else "fd"
                scores[f"{metric}_averaged"] = averaged[metric]
            metrics["unseen"][task.direction][task.map.name] = scores
        draw(test, task, params, found, swapped, out / f"{task.name}.png")
    metrics["beside"] = beside(evaluator, test, choices)
    if evaluator.pipeline.adapter.indicator is not None:
        metrics["indicator_accuracy"] = float(torch.stack(hits).mean())
    return metrics, rows


def beside(evaluator: Evaluator, test: Samples, choices: dict[Direction, dict[str, Any]]) -> dict[str, Any]:
    """The trained tasks at 10 steps, shown beside the chosen count."""
    result: dict[str, Any] = {}
    for task in TRAINED:
        choice = choices[task.direction]
        if choice["steps"] != 10:
            sampling = evaluator.sampling(10, choice["guidance_scale_with_10_steps"])
            scores, _, _ = evaluator.score(test, task, evaluator.params.items, sampling)
            result.setdefault(f"{evaluator.strategy}-10", {}).setdefault(task.direction, {})[task.map.name] = scores
    return result


def other(task: Task) -> Task:
    """Another trained task of the same direction, for the swapped-pair check."""
    same = [each for each in TRAINED if each.direction == task.direction]
    return same[(same.index(task) + 1) % len(same)]


def mean_maps(shards: Shards) -> dict[str, Tensor]:
    """The mean training map of every map, (3, H, W): what the trivial predictor answers."""
    return {name: torch.from_numpy(mean).movedim(-1, 0).contiguous() for name, mean in shards.mean_maps().items()}


def draw(test: Samples, task: Task, params: config.Evaluate, found: Tensor, swapped: Tensor | None, path: Path) -> None:
    """One row an item: query, the example's source and target, truth, output, and the output for a swapped pair."""
    items = test.manifest(task, params.grid_items, params.seed)
    queries, examples = [item.query for item in items], [item.example for item in items]
    columns = {
        "query": test.pictures(queries, task.source),
        "source": test.pictures(examples, task.source),
        "target": test.pictures(examples, task.target),
        "truth": test.pictures(queries, task.target),
        "output": found[: len(items)],
    }
    if swapped is not None:
        columns["swapped pair"] = swapped
    write_grid([list(row) for row in zip(*map(to_array, columns.values()), strict=True)], list(columns), path)


def require_finite(scores: Scores, task: Task) -> None:
    """No NaN is carried on."""
    broken = [name for name, value in scores.items() if not np.isfinite(value)]
    if broken:
        raise UsdError(f"{task.name}: {', '.join(broken)} not finite; the model has diverged, train it again")


def rounded(value: Any) -> Any:
    """Floats to five decimals, so that differences below the noise floor do not show in git."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    return round(value, 5) if isinstance(value, float) else value

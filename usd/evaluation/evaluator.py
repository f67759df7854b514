"""What one variant scores on the items of a manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from usd import config
from usd.annotators.bundled import Annotator
from usd.annotators.loading import load_annotators
from usd.config.values import Strategy
from usd.data.shards import Shards
from usd.errors import UsdError
from usd.evaluation import bootstrap
from usd.evaluation.choice import Choice, choose
from usd.evaluation.manifest import Item, Samples, mean_maps
from usd.evaluation.metrics import efficientnet_features, frechet_distance, kernel_distance, map_metrics, per_image_mse
from usd.evaluation.names import HEADLINE
from usd.evaluation.sampling import Candidate, Shown, generate
from usd.inference.pipeline import USDiffusionPipeline
from usd.tasks import TRAINED, Direction, Task

Scores = dict[str, float]


@dataclass(frozen=True)
class Scored:
    """Results of a task, and what was measured on them."""

    images: Tensor  # (N, 3, H, W) in [0, 1]
    scores: Scores
    squared: dict[str, np.ndarray]  # metric → squared errors of the items, (N,)
    features: tuple[Tensor, Tensor] | None = None  # of truths and results, (N, D)
    indicator: Tensor | None = None  # (N, tasks)

    def replicates(self, params: config.Evaluate) -> dict[str, np.ndarray]:
        """Bootstrap replicates (R,) of every metric that a variant is judged by."""
        draws = bootstrap.resamples(len(self.images), params.replicates, params.seed)
        found = {name: bootstrap.rmse_replicates(squared, draws) for name, squared in self.squared.items()}
        if self.features:
            found["fd"] = bootstrap.fd_replicates(*self.features, draws)
        return found


@dataclass
class Measure:
    """Metrics of pictures, whoever made them. Features of a set of truths are computed once."""

    means: dict[str, Tensor]  # the mean training map, (3, H, W), by map
    judges: Mapping[str, Annotator]  # read the maps of generated images
    features: dict[tuple[str, ...], Tensor] = field(default_factory=dict)  # of truths, by their keys

    @classmethod
    def of(cls, shards: Shards, judges: Path) -> "Measure":
        """With the mean maps of the training split, and the annotators in the folder `judges`."""
        return cls(mean_maps(shards), load_annotators(judges))

    def __call__(
        self,
        samples: Samples,
        items: list[Item],
        found: Tensor,
        indicator: Tensor | None = None,
        distances: bool = True,
    ) -> Scored:
        """Score results (N, 3, H, W) against the items' truths; without `distances` no features are computed."""
        task, keys = items[0].task, [item.query for item in items]
        truth = samples.pictures(keys, task.target)
        if task.direction == "image2map":
            scores = map_metrics(found, truth, self.means[task.map.name], task.map.name)
            squared = {"rmse": per_image_mse(found, truth).numpy()}
            return Scored(found, finite(scores, task), squared, indicator=indicator)
        features, scores, squared = None, {}, {}
        if distances:
            features = real, fake = self.truths(samples, keys), efficientnet_features(found)
            scores = {"fd": frechet_distance(real, fake), "kid": kernel_distance(real, fake)}
        if judge := self.judges.get(task.map.name):
            query = samples.pictures(keys, task.source)
            squared["adherence_rmse"] = _disagreement(judge, found, query)
            scores["adherence_rmse"] = float(np.sqrt(squared["adherence_rmse"].mean()))
            scores["adherence_of_truth"] = float(np.sqrt(_disagreement(judge, truth, query).mean()))
        return Scored(found, finite(scores, task), squared, features, indicator)

    def truths(self, samples: Samples, keys: list[str]) -> Tensor:
        """Features (N, D) of the images of these keys."""
        if tuple(keys) not in self.features:
            self.features[tuple(keys)] = efficientnet_features(samples.pictures(keys, "image"))
        return self.features[tuple(keys)]


@dataclass
class Evaluator:
    """One variant, and what every part of its evaluation reads."""

    pipeline: USDiffusionPipeline
    strategy: Strategy
    ess_steps: int  # length of the ESS list that was trained
    params: config.Evaluate
    measure: Measure

    @classmethod
    def of_model(
        cls,
        model: Path,
        device: torch.device,
        strategy: Strategy,
        ess_steps: int,
        params: config.Evaluate,
        measure: Measure,
    ) -> "Evaluator":
        """The evaluator of a model directory, whose variant is sampled at the timesteps of `strategy`.

        `ess_steps` is the length of the ESS list from which candidates are taken, for every variant.

        Raises:
            UsdError: there is no such model, or a part of it is missing or unreadable.
        """
        pipeline = USDiffusionPipeline.from_pretrained(model).to(device)
        return cls(pipeline, strategy, ess_steps, params, measure)

    def score(
        self,
        samples: Samples,
        task: Task,
        count: int,
        candidate: Candidate,
        shown: Shown | None = None,
        distances: bool = True,
    ) -> Scored:
        """Answer the first `count` items of a task, and score the answers; without `distances` all but FD and KID.

        By default the manifest's example is shown.
        """
        items = samples.manifest(task, count, self.params.seed)
        found, indicator = generate(
            self.pipeline,
            samples,
            items,
            candidate.sampling(self.strategy),
            self.params.batch_size,
            shown or Shown(),
            title=task.name,
        )
        return self.measure(samples, items, found, indicator, distances)

    def choose(self, validation: Samples, direction: Direction) -> Choice:
        """Try every candidate on the validation split."""
        metric, count = HEADLINE[direction], self.params.validation_items
        tasks = [task for task in TRAINED if task.direction == direction]

        def error(candidate: Candidate) -> float:
            found = [self.score(validation, task, count, candidate).scores[metric] for task in tasks]
            return round(float(np.mean(found)), 5)

        return choose(metric, self.params, self.ess_steps, error)


@torch.no_grad()
def _disagreement(judge: Annotator, images: Tensor, query: Tensor) -> np.ndarray:
    """Squared distance (N,) between the map read off each image and the one it was made from."""
    read = torch.cat([judge(part) for part in images.split(64)])
    return per_image_mse(read, query).numpy()


def finite(scores: Scores, task: Task) -> Scores:
    """The scores, none of which may be NaN or infinite."""
    broken = [name for name, value in scores.items() if not np.isfinite(value)]
    if broken:
        raise UsdError(f"{task.name}: {', '.join(broken)} not finite; the model has diverged, train it again")
    return scores


def rounded(value: Any) -> Any:
    """Floats to five decimals, so that differences below the noise floor do not show in git."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    return round(value, 5) if isinstance(value, float) else value

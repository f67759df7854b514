"""Generation over the items of a manifest."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich import get_console
from rich.progress import track
from torch import Tensor

from usd.config.values import Strategy
from usd.determinism import generator
from usd.diffusion.sampling import Sampling, network_evaluations
from usd.diffusion.timesteps import sampling_timesteps
from usd.evaluation.manifest import Item, Samples
from usd.inference.images import Pair
from usd.inference.pipeline import USDiffusionPipeline
from usd.tasks import Task


@dataclass(frozen=True, order=True)
class Candidate:
    """How an image is sampled: the number of timesteps, and the guidance scale.

    Guidance runs the network twice a timestep, so `nfe` and not `steps` is what two ways are compared at.
    """

    steps: int
    guidance_scale: float

    @classmethod
    def of(cls, choice: Mapping[str, Any]) -> "Candidate":
        """What was chosen for a direction, from the section `sampling` of metrics.json."""
        return cls(choice["steps"], choice["guidance_scale"])

    @property
    def nfe(self) -> int:
        """Evaluations of the network per image."""
        return network_evaluations(self.steps, self.guidance_scale)

    def sampling(self, strategy: Strategy) -> Sampling:
        """Exactly `steps` timesteps of a strategy: ESS-10, whose last step at t = 0 is left out, has nine."""
        count = self.steps + 1 if strategy == "ess" and self.steps > 1 else self.steps
        return Sampling(sampling_timesteps(strategy, count), self.guidance_scale)


def chosen_sampling(sampling: Mapping[str, Mapping[str, Any]], strategy: Strategy) -> dict[str, Any]:
    """How a call samples in each direction, from the section `sampling` of metrics.json."""
    return {direction: asdict(Candidate.of(choice).sampling(strategy)) for direction, choice in sampling.items()}


@dataclass(frozen=True)
class Shown:
    """What a variant is given beside the query; by default the manifest's example, and no map's name as prompt."""

    task: Task | None = None  # of the example pair, where it is not the item's own
    black: bool = False  # the pair is two black pictures
    pairs: int = 1  # examples that show the same task
    caption: bool = True  # False: the prompt of Map2Image is empty, too
    named: bool = False  # the prompt of Image2Map names the map
    indicator: str | None = None  # the task named to the adapter, which else infers it from the pair


def generate(
    pipeline: USDiffusionPipeline,
    samples: Samples,
    items: list[Item],
    sampling: Sampling,
    batch_size: int,
    shown: Shown,
    title: str,
) -> tuple[Tensor, Tensor]:
    """Results (N, 3, H, W) in [0, 1] and indicators (N, tasks) of the items, in order."""
    task = items[0].task
    named = shown.named or pipeline.adapter.example is None  # of a model that reads no pair, whatever is shown
    images, indicators = [], []
    pipeline.set_progress_bar_config(disable=True)  # one bar over all items is enough
    in_log = not get_console().is_terminal  # which would get a blank line from a bar that goes away
    for part in track(list(_parts(items, batch_size)), description=title, transient=True, disable=in_log):
        output = pipeline(
            _examples(samples, part, shown),
            samples.pictures([item.query for item in part], task.source),
            [task.prompt(samples.caption(item.query) if shown.caption else "", named) for item in part],
            task=shown.indicator,
            timesteps=sampling.timesteps,
            guidance_scale=sampling.guidance_scale,
            generator=[generator(item.noise_seed) for item in part],
            output_type="pt",
        )
        images.append(output.images)
        indicators.append(output.indicator.cpu())
    return torch.cat(images), torch.cat(indicators)


def _examples(samples: Samples, items: list[Item], shown: Shown) -> list[Pair]:
    """Example pairs of the items, each (B, 3, H, W) in [0, 1]."""
    task = shown.task or items[0].task
    pairs: list[Pair] = []
    for number in range(shown.pairs):
        keys = [samples.example(item, number) for item in items]
        source, target = (samples.pictures(keys, field) for field in (task.source, task.target))
        pairs.append((source * 0, target * 0) if shown.black else (source, target))
    return pairs


def _parts(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

"""Generation over the items of a manifest."""

from collections.abc import Iterator

import torch
from rich.progress import track
from torch import Tensor

from usd.determinism import generator
from usd.diffusion.sampling import Sampling
from usd.evaluation.manifest import Item, Samples
from usd.inference.pipeline import USDiffusionPipeline
from usd.tasks import Task


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
            [task.prompt(samples.caption(item.query)) for item in part],
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


def _parts(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

"""Training of the tiny base: what Stable Diffusion's pre-training is to the paper.

The base learns to denoise images from captions and maps from their names. In a share of the items (`translation`)
the sample's other modality is laid over the noise, so its features can read one modality while they write the other.
The base cannot be shown a query or an example: that is what the control branch adds.

The text encoder keeps its random initial weights: they tell the prompts of a small vocabulary apart. Trained at the
U-Net's learning rate it collapsed, and the U-Net learned to ignore it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from usd import config
from usd.data.loader import Batch, training_loader
from usd.data.shards import Shards
from usd.data.stream import TrainingStream
from usd.determinism import accelerator_for, generator
from usd.diffusion.losses import mean_square, task_weights
from usd.diffusion.timesteps import draw_timesteps
from usd.errors import UsdError
from usd.model.base import Base, encode, encode_text
from usd.tasks import TRAINED
from usd.training.checkpoint import identity_of
from usd.training.loop import Row, Terms, fit

HALVES = 2  # an item's query and its example are two images to learn from


def pretrain(base: Base, shards: Shards, params: config.Base, run_dir: Path) -> list[Row]:
    """Train the base in place; returns the curve.

    Raises:
        UsdError: the batch size does not divide among the tasks.
    """
    items, rest = divmod(params.batch_size, HALVES * len(TRAINED))
    if rest:
        multiple = HALVES * len(TRAINED)
        raise UsdError(f"base.batch_size: {params.batch_size} is not a multiple of {multiple}, two images a task")
    accelerator = accelerator_for(params.device, params.precision)
    rank, world = accelerator.process_index, accelerator.num_processes
    base.to(accelerator.device)
    base.text_encoder.eval().requires_grad_(False)
    base.unet.train().to(memory_format=torch.channels_last)

    def batches(start: int) -> Iterator[Batch]:
        stream = TrainingStream(shards["train"], params.seed, items, params.flip, start, rank, world)
        return training_loader(stream, params.workers, accelerator.device)

    identity = identity_of(params, "usd.stages.base", shards.digest) | {"processes": world}
    loss = BaseObjective(base, params, rank, world)
    return fit(base.unet, batches, loss, params, accelerator, run_dir, identity, title="base")


@dataclass(frozen=True)
class BaseDraws:
    """The random numbers of one micro-batch, or of one process's share of it."""

    t: Tensor  # (B,) long
    share: Tensor  # (B,) amplitude of x_t in what the U-Net sees; the rest is the other modality
    keep_text: Tensor  # (B,) bool
    noise: Tensor  # (B, C, h, w)

    def of_process(self, rank: int, world: int) -> "BaseDraws":
        """The items of process `rank`, of the queries and of the examples."""
        parts = (self.t, self.share, self.keep_text, self.noise)
        return BaseDraws(*(part.unflatten(0, (HALVES, world, -1))[:, rank].flatten(0, 1) for part in parts))


def draw_base(params: config.Base, index: int, shape: tuple[int, ...]) -> BaseDraws:
    """Draw for micro-batch `index`, whose latents have `shape` over all processes: a function of seed and index."""
    random, count = generator(params.seed, index), shape[0]
    t = draw_timesteps("ess", params.ess_steps, count, random)
    translated = (torch.rand(count, generator=random) < params.translation) & (t >= params.translation_from)
    residue = params.residue * torch.rand(count, generator=random)
    return BaseDraws(
        t=t,
        share=torch.where(translated, residue, 1.0),
        keep_text=torch.rand(count, generator=random) >= params.dropout,
        noise=torch.randn(shape, generator=random),
    )


@dataclass(frozen=True)
class BaseObjective:
    """The loss terms of one micro-batch: (model, batch) → terms, whose sum is minimised."""

    base: Base
    params: config.Base
    rank: int = 0
    world: int = 1

    def __call__(self, model: nn.Module, batch: Batch) -> Terms:
        """The terms: `denoising`, and `translation` of the items over which the other modality is laid."""
        base, device = self.base, batch.target.device
        x_0 = encode(base.vae, torch.cat([batch.target, batch.example_target]))  # (2B, C, h, w)
        other = encode(base.vae, torch.cat([batch.query, batch.example_source]))
        whole = draw_base(self.params, batch.index, (len(x_0) * self.world, *x_0.shape[1:]))
        drawn = whole.of_process(self.rank, self.world)
        t, s = drawn.t.to(device), drawn.share.to(device)[:, None, None, None]
        x_t = base.scheduler.add_noise(x_0, drawn.noise.to(device), t)  # √ᾱ_t·x_0 + √(1 − ᾱ_t)·ε
        x_t = s * x_t + (1 - s**2).sqrt() * other
        prompts = zip(batch.prompts + batch.example_prompts, drawn.keep_text, strict=True)
        text = encode_text(base, [prompt if keep else "" for prompt, keep in prompts])  # (2B, L, D)
        estimate = model(x_t.contiguous(memory_format=torch.channels_last), t, text).sample.float()
        weights = task_weights(batch.tasks, self.params.map_weight).to(device)[batch.task.repeat(HALVES)]
        error = weights * mean_square(estimate - x_0)  # (2B,) ‖x̂_0 − x_0‖²
        translated = s.flatten() < 1
        return {
            "denoising": error[~translated].sum() / len(error),
            "translation": error[translated].sum() / len(error),
        }

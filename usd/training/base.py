"""Training of the tiny base: what Stable Diffusion's pre-training is to the paper.

The base learns to denoise images from captions and maps from their names. In a share of the items (`translation`)
the sample's other modality is laid over the noise: so its features can read one modality while they write the other.
It has no way to be shown a query or an example of its own: that is what the control branch adds.

The text encoder keeps its random initial weights: they tell the prompts of a small vocabulary apart. Trained at the
U-Net's learning rate it collapsed, and the U-Net learned to ignore it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from usd.config import Base as BaseParams
from usd.data.loader import Batch, training_loader
from usd.data.shards import Shards
from usd.data.stream import TrainingStream
from usd.determinism import accelerator_for, generator
from usd.diffusion.losses import error_weight
from usd.diffusion.timesteps import draw
from usd.errors import UsdError
from usd.model.base import Base, encode, encode_text
from usd.tasks import TRAINED
from usd.training.loop import Plan, Terms, fit

TIMESTEPS = 100  # drawn as ESS does, dense where noise is high
TRANSLATION_FROM = 300  # below, x_t shows what to draw, and nothing is laid over it
RESIDUE = 0.5  # translation: x_t keeps at most this share of its amplitude
TEXT_DROPOUT = 0.1


def pretrain(base: Base, shards: Shards, params: BaseParams, run_dir: Path) -> list[dict[str, float]]:
    """Train the base in place; returns the curve."""
    if params.batch_size % (2 * len(TRAINED)):
        raise UsdError(f"base.batch_size: {params.batch_size} is no multiple of {2 * len(TRAINED)}, two images a task")
    accelerator = accelerator_for(params.device, params.precision)
    device = accelerator.device
    base.to(device)
    base.text_encoder.eval().requires_grad_(False)
    base.unet.train().to(memory_format=torch.channels_last)

    weights = torch.tensor([error_weight(task) for task in TRAINED], device=device)

    def loss(model: nn.Module, batch: Batch) -> Terms:
        source = torch.cat([batch.query, batch.example_source])
        picture = torch.cat([batch.target, batch.example_target])
        prompts = batch.prompts + batch.example_prompts
        x_0 = encode(base.vae, picture)
        drawn = draws(params, batch.index, tuple(x_0.shape))
        share = drawn.share.to(device)[:, None, None, None]
        t = drawn.t.to(device)
        x_t = base.scheduler.add_noise(x_0, drawn.noise.to(device), t)
        x_t = share * x_t + (1 - share**2).sqrt() * encode(base.vae, source)
        kept = [prompt if keep else "" for prompt, keep in zip(prompts, drawn.keep_text, strict=True)]
        estimate = model(x_t.contiguous(memory_format=torch.channels_last), t, encode_text(base, kept))
        error = weights[batch.task.repeat(2)] * (estimate.sample.float() - x_0).square().mean((1, 2, 3))
        translated, count = share.flatten() < 1, len(error)
        return {
            "denoising": error[~translated].sum() / count,
            "translation": error[translated].sum() / count,
        }

    def batches(start: int) -> Iterator[Batch]:
        stream = TrainingStream(shards["train"], params.seed, params.batch_size // (2 * len(TRAINED)), 0.5, start)
        return training_loader(stream, 1, device)

    identity = {"base": vars(params), "data": shards.digest}
    plan = Plan(
        params.steps,
        params.learning_rate,
        run_dir,
        identity,
        warmup=100,
        ema=params.ema,
        checkpoint_every=500,
        log_every=50,
    )
    return fit(base.unet, batches, loss, plan, accelerator, title="base")


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step, one each an image."""

    t: Tensor
    share: Tensor  # of x_t in what the U-Net sees, by amplitude; the rest is the other modality
    keep_text: Tensor  # bool
    noise: Tensor  # like the latents


def draws(params: BaseParams, index: int, shape: tuple[int, ...]) -> Draws:
    """Draw for micro-batch `index`."""
    random = generator(params.seed, index)
    count = shape[0]
    t = draw("ess", TIMESTEPS, count, random)
    translated = (torch.rand(count, generator=random) < params.translation) & (t >= TRANSLATION_FROM)
    residue = RESIDUE * torch.rand(count, generator=random)
    return Draws(
        t=t,
        share=torch.where(translated, residue, 1.0),
        keep_text=torch.rand(count, generator=random) >= TEXT_DROPOUT,
        noise=torch.randn(shape, generator=random),
    )

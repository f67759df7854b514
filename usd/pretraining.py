"""Training of the tiny base: what Stable Diffusion's pre-training is to the paper.

The base learns to denoise images from captions and maps from their names. In a share of the items (`translation`)
the timestep says that little can be seen, yet the input is the sample's other modality, lightly noised: so its
features can read one modality and write the other. It has no way to be shown a query or an example: that is what the
control branch adds.

The text encoder keeps its random initial weights: they tell the prompts of a small vocabulary apart. Trained at the
U-Net's learning rate it collapsed, and the U-Net learned to ignore it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from usd.config import Base as BaseParams
from usd.data.shards import Mixture, TrainingStream, check_shards, mixtures, training_loader
from usd.errors import UsdError
from usd.model.base import Base, encode, encode_text
from usd.tasks import TRAINED
from usd.training import Plan, Terms, accelerator_for, fit, generator

STEPS = 1000  # of the noise schedule
TRANSLATION_NOISE = 300  # translation: the other modality has the noise of a timestep below this …
TRANSLATION_FROM = 600  # … and the U-Net is told a timestep from here on
TEXT_DROPOUT = 0.1


def pretrain(base: Base, shards: Path, params: BaseParams, run_dir: Path) -> list[dict[str, float]]:
    """Train the base in place; returns the curve."""
    if params.batch_size % (2 * len(TRAINED)):
        raise UsdError(f"base.batch_size: {params.batch_size} is no multiple of {2 * len(TRAINED)}, two images a task")
    accelerator = accelerator_for(params.device, params.precision)
    device = accelerator.device
    base.to(device)
    base.text_encoder.eval().requires_grad_(False)
    base.unet.train().to(memory_format=torch.channels_last)

    def loss(model: nn.Module, mixture: Mixture) -> Terms:
        source = torch.cat([part for batch in mixture.parts for part in (batch.query, batch.example_source)]).to(device)
        picture = torch.cat([part for batch in mixture.parts for part in (batch.target, batch.example_target)]).to(
            device
        )
        prompts = [b.task.prompt(c) for b in mixture.parts for c in (*b.captions, *b.example_captions)]
        x_0 = encode(base.vae, picture)
        drawn = draws(params, mixture.index, tuple(x_0.shape))
        translated = drawn.translated.to(device)
        seen = torch.where(translated[:, None, None, None], encode(base.vae, source), x_0)
        x_t = base.scheduler.add_noise(seen, drawn.noise.to(device), drawn.noise_level.to(device))
        kept = [prompt if keep else "" for prompt, keep in zip(prompts, drawn.keep_text, strict=True)]
        estimate = model(x_t.contiguous(memory_format=torch.channels_last), drawn.t.to(device), encode_text(base, kept))
        error = (estimate.sample.float() - x_0).square().mean((1, 2, 3))
        count = len(error)
        return {
            "denoising": error[~translated].sum() / count,
            "translation": error[translated].sum() / count,
        }

    def batches(start: int) -> Iterator[Mixture]:
        tasks = len(TRAINED)
        stream = TrainingStream(shards, params.seed, params.batch_size // (2 * tasks), 0.5, start * tasks)
        return mixtures(training_loader(stream, workers=1))

    identity = {"base": vars(params), "data": check_shards(shards)}
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

    t: Tensor  # the timestep that the U-Net is told
    noise_level: Tensor  # the timestep whose noise its input has
    translated: Tensor  # bool: the input is the other modality
    keep_text: Tensor  # bool
    noise: Tensor  # like the latents


def draws(params: BaseParams, index: int, shape: tuple[int, ...]) -> Draws:
    """Draw for the step that begins at micro-batch `index`."""
    random = generator(params.seed, index)
    count = shape[0]
    translated = torch.rand(count, generator=random) < params.translation
    t = torch.randint(STEPS, (count,), generator=random)
    high = torch.randint(TRANSLATION_FROM, STEPS, (count,), generator=random)
    light = torch.randint(TRANSLATION_NOISE, (count,), generator=random)
    return Draws(
        t=torch.where(translated, high, t),
        noise_level=torch.where(translated, light, t),
        translated=translated,
        keep_text=torch.rand(count, generator=random) >= TEXT_DROPOUT,
        noise=torch.randn(shape, generator=random),
    )

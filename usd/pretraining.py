"""Training of the tiny base: what Stable Diffusion's pre-training is to the paper.

The base learns to denoise images from captions and maps from their names. In a share of the batches (`translation`)
the noisy input is made of the sample's other modality, at low noise, so that its features can read one modality and
write the other. It has no way to be shown a query or an example: that is what the control branch adds.

The text encoder keeps its random initial weights: they tell the prompts of a small vocabulary apart. Trained at the
U-Net's learning rate it collapsed, and the U-Net learned to ignore it.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from usd.config import Base as BaseParams
from usd.data.shards import Batch, TrainingStream, check_shards, training_loader
from usd.model.base import Base, encode, encode_text
from usd.training import Plan, Terms, accelerator_for, fit, generator

TRANSLATION_BELOW = 600  # timesteps at which x_t may be made of the other modality
TEXT_DROPOUT = 0.1


def pretrain(base: Base, shards: Path, params: BaseParams, run_dir: Path) -> list[dict[str, float]]:
    """Train the base in place; returns the curve."""
    accelerator = accelerator_for(params.device, params.precision)
    device = accelerator.device
    base.to(device)
    base.text_encoder.eval().requires_grad_(False)
    base.unet.train().to(memory_format=torch.channels_last)

    def loss(model: nn.Module, batch: Batch) -> Terms:
        random = generator(params.seed, batch.index)
        size = len(batch.keys)
        translate = bool(torch.rand((), generator=random) < params.translation)
        start = batch.query if translate else batch.target
        highest = TRANSLATION_BELOW if translate else base.scheduler.config.num_train_timesteps
        t = torch.randint(highest, (size,), generator=random)
        kept = torch.rand(size, generator=random) >= TEXT_DROPOUT
        prompts = [batch.task.prompt(c) if keep else "" for c, keep in zip(batch.captions, kept, strict=True)]
        x_0, target = encode(base.vae, start.to(device)), encode(base.vae, batch.target.to(device))
        noise = torch.randn(x_0.shape, generator=random).to(device)
        x_t = base.scheduler.add_noise(x_0, noise, t.to(device))
        text = encode_text(base, prompts)
        estimate = model(x_t.contiguous(memory_format=torch.channels_last), t.to(device), text).sample
        return {"translation" if translate else "denoising": (estimate.float() - target).square().mean()}

    def batches(start: int) -> Iterator[Batch]:
        return training_loader(TrainingStream(shards, params.seed, params.batch_size, 0.5, start), workers=1)

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

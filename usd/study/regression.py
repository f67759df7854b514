"""The plain regression network: what the same base learns when it is simply taught to map query to target.

It starts from the base, as the variants do, and has the same number of steps and the same batches, but no noise, no
example pair, no control branch and no adapter: the U-Net reads the query's latents and predicts the target's. All of it
is trained, at the variants' rate for pretrained weights. Having no pair, it is always told the map by its name. Its
answer takes one evaluation, like that of the base alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from usd.config import Train
from usd.data.loader import Batch, training_loader
from usd.data.shards import Shards
from usd.data.stream import TrainingStream
from usd.determinism import accelerator_for
from usd.diffusion.losses import mean_square, task_weights
from usd.diffusion.prediction import clean_estimate
from usd.evaluation.yardsticks import T_BASE_ALONE
from usd.model.base import Base, encode, encode_text, load_base
from usd.training.checkpoint import identity_of
from usd.training.loop import Terms, fit


def train_regression(shards: Shards, params: Train, run_dir: Path) -> Base:
    """A base whose U-Net was trained for `params.steps` steps; `run_dir` resumes a killed run."""
    accelerator = accelerator_for(params.device, params.precision)
    base = load_base(params.base).freeze().to(accelerator.device)
    base.unet.train().requires_grad_(True).to(memory_format=torch.channels_last)

    def loss(unet: nn.Module, batch: Batch) -> Terms:
        with torch.no_grad():
            query, target = encode(base.vae, batch.query), encode(base.vae, batch.target)  # (B, C, h, w)
            text = encode_text(base, batch.prompts)
        t = torch.full((len(query),), T_BASE_ALONE, device=query.device)
        estimate = clean_estimate(base.scheduler, unet(query, t, text).sample.float(), query, t)
        errors = mean_square(estimate - target)
        weights = task_weights(batch.tasks, params.map_weight).to(errors)
        return {"regression": (weights[batch.task] * errors).mean()}

    def batches(start: int) -> Iterator[Batch]:
        stream = TrainingStream(shards["train"], params.seed, params.batch_size, params.flip, start)
        return training_loader(stream, params.workers, accelerator.device)

    params = replace(params, learning_rate=params.learning_rate * params.pretrained_rate)
    identity = identity_of(params, __name__, shards.digest) | {"base weights": base.digest()}
    fit(base.unet, batches, loss, params, accelerator, run_dir, identity, title="regression")
    return base.freeze()

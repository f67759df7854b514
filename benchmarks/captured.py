"""Trains a variant as section `reference` says on a GPU, each step as one CUDA graph.

python -m benchmarks.captured                                         # stage `reference` takes up its last checkpoint
python -m benchmarks.captured --variant prompt_diffusion --run-dir .usd/runs/longer

The second command's checkpoint is taken up by `usd.stages.train` with `train.steps` and `train.batch_size` as in
section `reference`.
"""

import math
from dataclasses import asdict, replace
from pathlib import Path

import torch
import typer

from benchmarks.graph import Step
from usd import config
from usd.annotators.loading import load_annotators
from usd.config.training import OURS
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError, reported
from usd.files import sole_writer
from usd.model.base import load_base
from usd.model.control import channels_last
from usd.training.checkpoint import TrainingState
from usd.training.finetune import batches_of, inputs_of, new_denoiser, rates
from usd.training.objective import Objective
from usd.training.optimizer import learning_rate, new_average, new_optimizer, set_learning_rate
from usd.training.progress import Progress
from usd.training.variant import check_estimates

RUN_DIR = Path(".usd/runs/reference/training")  # where stage `reference` looks for a checkpoint
EVERY = 1000  # steps between checkpoints


def check(own: config.Train) -> None:
    """Refuse what this step does not do; the stage would take its checkpoint for one that did."""
    wanted = {
        "precision": own.precision == "no",
        "gradient_accumulation_steps": own.gradient_accumulation_steps == 1,
        "feedback_below": own.feedback_below >= sampling_timesteps("ess", own.ess_steps)[0],
        "encoded": not own.encoded,
        "ema_decay": own.ema_decay > 0,
    }
    if others := [name for name, fits in wanted.items() if not fits]:
        raise UsdError(f"train.{others[0]}: this step has its default only; train by stage `reference` instead")


def main(
    shards: str = "data/shards",
    annotators: Path = Path("models/annotators"),
    run_dir: Path = RUN_DIR,
    variant: str = OURS,
) -> None:
    """Train --variant on --shards with --annotators as section `reference` says; --run-dir gets the checkpoints."""
    params = config.load()
    own = replace(params.train, **asdict(params.reference))
    train(variant, params.variant(variant), own, Shards.open(shards), annotators, run_dir)


def train(
    name: str, variant: config.Variant, own: config.Train, shards: Shards, annotators: Path, run_dir: Path
) -> None:
    """Train a variant, and leave a checkpoint after the last step."""
    check(own)
    accelerator = accelerator_for(own.device, own.precision)
    device, base = accelerator.device, load_base(own.base).freeze()
    check_estimates(name, variant, base.scheduler)
    digest = base.digest()
    identity = inputs_of(own, variant, shards, annotators) | {"base weights": digest, "processes": 1}
    denoiser = new_denoiser(base, variant, own).to(device)
    base.to(device)
    channels_last(denoiser.train())
    objective = Objective(base, load_annotators(annotators), own, variant)
    step = Step(objective, denoiser, shards["train"].pictures([shards["train"].rows.key(0)], "image").shape[1], device)
    named = [(name, weight) for name, weight in denoiser.named_parameters() if weight.requires_grad]
    optimizer, average = new_optimizer(named, own, rates(own)), new_average(step.weights, own.ema_decay)
    assert average
    state = TrainingState(run_dir, identity, named, optimizer, average)
    start = state.load()
    batches = batches_of(shards, own, digest, accelerator)(start)
    loss = math.nan
    with sole_writer(run_dir), Progress(name, start, own.steps, shown=True) as progress:
        for done, batch in zip(range(start + 1, own.steps + 1), batches, strict=False):
            set_learning_rate(optimizer, done - 1, own)
            terms = step(batch)
            norm = torch.nn.utils.clip_grad_norm_(step.weights, own.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.step(step.weights)
            logs, saves = (done % every == 0 or done == own.steps for every in (own.log_every, EVERY))
            if logs or saves or math.isnan(loss):  # the only place that waits for the GPU
                values = {name: float(value) for name, value in terms.items()}
                rest = {"grad_norm": float(norm), "lr": learning_rate(done - 1, own)}
                if not all(map(math.isfinite, (*values.values(), rest["grad_norm"]))):
                    raise UsdError(f"step {done}: not finite, {values}; lower train.learning_rate")
                if logs:
                    state.curve.append({"step": done, **values, **rest})
                loss = values["loss"]
            progress.step_done(loss)  # the last that was read
            if saves:
                state.save(done)


if __name__ == "__main__":
    with reported():
        typer.run(main)

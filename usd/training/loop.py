"""The one training loop: annotators, base and control branches all run through `fit`.

To resume, run the same command again. All randomness is a function of the seed and the step, so a resumed run ends
with the same bits as an uninterrupted one. The exception is fp16, whose loss scale starts anew.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from usd.config import Optimisation
from usd.errors import UsdError
from usd.files import atomic_write, check_writable, sole_writer
from usd.training.checkpoint import CHECKPOINT, TrainingState
from usd.training.optimizer import Rate, averaged, learning_rate, new_average, new_optimizer, set_learning_rate
from usd.training.progress import Progress

Terms = dict[str, Tensor]  # loss terms by name, whose sum is minimised; but "term/task" is only logged
Row = dict[str, float]
REMEDY = "lower its learning_rate or use precision: 'no'"  # where something is not finite


class Labelled(Protocol):
    """A batch of any kind."""

    @property
    def label(self) -> str:
        """What an error message says of it."""


B = TypeVar("B", bound=Labelled)
Loss = Callable[[nn.Module, B], Terms]


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterator[B]],
    loss: Loss[B],
    params: Optimisation,
    accelerator: Accelerator,
    run_dir: Path,
    identity: dict[str, Any],
    rate: Rate = lambda name, weight: 1.0,
    log: Callable[[int, Row], None] = lambda step, values: None,
    preview: Callable[[int], None] = lambda step: None,
    preview_every: int = 0,
    title: str = "train",
) -> list[Row]:
    """Train `model` in place and leave the averaged weights in it; returns the curve, one row per logged step.

    Args:
        batches: `batches(n)` yields the micro-batches from number n on.
        run_dir: where the state of an interrupted run is kept; outside DVC's outs, which are deleted before a stage.
        identity: parameters and data that a checkpoint must agree with.
        rate: a weight's share of the learning rate.
        log: takes the number of steps done, and the curve's row with the times beside it.
        preview: called every `preview_every` steps, with the averaged weights in the model; 0 is never.

    Raises:
        UsdError: the loss is not finite, a checkpoint of other parameters or data is in the way, none can be written,
            or another process trains in `run_dir`.
    """
    check_writable(run_dir / CHECKPOINT)
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    weights = [weight for _, weight in named]
    wrapped, optimizer = accelerator.prepare(model, new_optimizer(named, params, rate))
    state = TrainingState(run_dir, identity, named, optimizer, new_average(weights, params.ema_decay))
    average, start, main = state.average, state.load(), accelerator.is_main_process
    stream = Timed(batches(start * params.gradient_accumulation_steps))
    with sole_writer(run_dir) if main else nullcontext(), Progress(title, start, params.steps, shown=main) as progress:
        for done in range(start + 1, params.steps + 1):
            row = _step(wrapped, optimizer, weights, stream, loss, params, accelerator, done - 1)
            if average:
                average.step(weights)
            progress.step_done(row["loss"])
            if done % params.log_every == 0 or done == params.steps:
                state.curve.append(row)
                if main:
                    log(done, row | progress.lap(stream.waited))
            if done % params.checkpoint_every == 0 and main:
                state.save(done)
            if preview_every and done % preview_every == 0 and main:
                with averaged(weights, average):
                    preview(done)
    if average:
        average.copy_to(weights)
    vars(model).pop("forward", None)  # accelerate's, in the training's precision; the class's own is in its place again
    return state.curve


class Timed(Iterator[B]):
    """A stream of batches that counts the seconds spent waiting for it."""

    def __init__(self, batches: Iterator[B]) -> None:
        self.batches, self.waited = batches, 0.0

    def __next__(self) -> B:
        began = time.perf_counter()
        batch = next(self.batches)
        self.waited += time.perf_counter() - began
        return batch


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: list[nn.Parameter],
    stream: Iterator[B],
    loss: Loss[B],
    params: Optimisation,
    accelerator: Accelerator,
    step: int,
) -> Row:
    """Step number `step`, counted from 0; returns its row of the curve."""
    set_learning_rate(optimizer, step, params)
    values = _accumulate(model, stream, loss, params, accelerator, step)
    norm = accelerator.clip_grad_norm_(weights, params.max_grad_norm)
    if accelerator.scaler is None and not torch.isfinite(norm):  # a scaler leaves such a step out
        raise UsdError(f"step {step + 1}: the gradient is not finite; {REMEDY}")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"step": step + 1, **values, "grad_norm": float(norm), "lr": learning_rate(step, params)}


def _accumulate(
    model: nn.Module,
    stream: Iterator[B],
    loss: Loss[B],
    params: Optimisation,
    accelerator: Accelerator,
    step: int,
) -> Row:
    """Forward and backward over the step's micro-batches; returns the mean loss terms.

    Processes exchange their gradients once a step, after the last micro-batch.
    """
    sums: Row = {}
    for number in range(params.gradient_accumulation_steps):
        batch = next(stream)
        last = number + 1 == params.gradient_accumulation_steps
        with nullcontext() if last else accelerator.no_sync(model):
            with accelerator.autocast():
                terms = loss(model, batch)
            total = torch.stack([term for name, term in terms.items() if "/" not in name]).sum()
            _check_finite(total, terms, f"step {step + 1}, {batch.label}")
            accelerator.backward(total / params.gradient_accumulation_steps)
        values = torch.stack([term.detach().float() for term in (total, *terms.values())])
        for name, mean in zip(("loss", *terms), accelerator.reduce(values, "mean").tolist(), strict=True):
            sums[name] = sums.get(name, 0.0) + mean / params.gradient_accumulation_steps
    return sums


def _check_finite(total: Tensor, terms: Terms, where: str) -> None:
    if not torch.isfinite(total):
        found = ", ".join(f"{name} {float(term):g}" for name, term in terms.items())
        raise UsdError(f"{where}: loss is not finite ({found}); {REMEDY}")


def write_curve(curve: list[Row], path: Path) -> None:
    """The training curve as CSV, for `dvc plots`; a term that a step lacks is empty."""
    rows = [{name: f"{each:.6g}" if isinstance(each, float) else each for name, each in row.items()} for row in curve]
    atomic_write(path, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))

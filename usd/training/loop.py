"""The one training loop: annotators, base and control branches all run through `fit`.

To resume, run the same command again. All randomness is a function of the seed and the step, so a resumed run ends
with the same bits as an uninterrupted one; but in fp16 the loss scale starts anew.
"""

import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from usd.errors import UsdError
from usd.files import atomic_write
from usd.training.checkpoint import TrainingState

Terms = dict[str, Tensor]  # named loss terms; their sum is minimised, but for "term/task", a term's mean over one task


class Labelled(Protocol):
    """A batch of any kind."""

    @property
    def label(self) -> str:
        """What an error message says of it."""


B = TypeVar("B", bound=Labelled)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train, and where the state of an interrupted run is kept."""

    steps: int
    learning_rate: float
    run_dir: Path  # outside DVC's outs, which are deleted before a stage runs
    identity: dict[str, Any] = field(default_factory=dict)  # parameters and data that a checkpoint must agree with
    rate: Callable[[str, nn.Parameter], float] = lambda name, weight: 1.0  # share of the learning rate
    warmup: int = 50
    optimizer: str = "adamw"  # or "adamw_8bit"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema: float = 0.0  # decay; 0 is off
    accumulation: int = 1
    checkpoint_every: int = 100
    log_every: int = 10
    preview_every: int = 0


def learning_rate(step: int, plan: Plan) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    progress = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterator[B]],
    loss: Callable[[nn.Module, B], Terms],
    plan: Plan,
    accelerator: Accelerator,
    log: Callable[[int, dict[str, float]], None] = lambda step, values: None,
    preview: Callable[[int], None] = lambda step: None,
    title: str = "train",
) -> list[dict[str, float]]:
    """Train `model` in place and leave the averaged weights in it; returns the curve, one row a logged step.

    `batches(n)` yields the micro-batches from number n on.

    Raises:
        UsdError: the loss is not finite, or a checkpoint of other parameters or data is in the way.
    """
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    weights = [weight for _, weight in named]
    wrapped, optimizer = accelerator.prepare(model, _optimizer(named, plan))
    average = EMAModel(weights, decay=plan.ema, foreach=True) if plan.ema else None
    state = TrainingState(plan.run_dir, plan.identity, named, optimizer, average)
    start = state.load()
    stream = batches(start * plan.accumulation)
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), disable=not accelerator.is_main_process) as progress:
        bar = progress.add_task(title, total=plan.steps, completed=start, note="")
        for step in range(start, plan.steps):
            began = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * learning_rate(step, plan)
            values = _accumulate(wrapped, stream, loss, plan, accelerator, step)
            norm = accelerator.clip_grad_norm_(weights, plan.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if average:
                average.step(weights)
            if (step + 1) % plan.log_every == 0 or step + 1 == plan.steps:
                row = {"step": step + 1, **values, "grad_norm": float(norm), "lr": learning_rate(step, plan)}
                state.curve.append(row)
                if accelerator.is_main_process:
                    log(step + 1, row | {"seconds_per_step": time.perf_counter() - began})
            rate = f"loss {values['loss']:.4f} · {1 / (time.perf_counter() - began):.2f} steps/s"
            progress.update(bar, advance=1, note=rate)
            twentieth = (step + 1) % max(1, plan.steps // 20) == 0
            if twentieth and not progress.console.is_terminal:  # a log file shows no bar
                print(f"{title} {step + 1}/{plan.steps} · {rate}", flush=True)
            if (step + 1) % plan.checkpoint_every == 0 and accelerator.is_main_process:
                state.save(step + 1)
            if plan.preview_every and (step + 1) % plan.preview_every == 0 and accelerator.is_main_process:
                with averaged(weights, average):
                    preview(step + 1)
    if average:
        average.copy_to(weights)
    return state.curve


@contextmanager
def averaged(weights: list[nn.Parameter], average: EMAModel | None) -> Iterator[None]:
    """Within the block the weights are the averaged ones, if there are any."""
    if not average:
        yield
        return
    average.store(weights)
    average.copy_to(weights)
    try:
        yield
    finally:
        average.restore(weights)


def _optimizer(named: list[tuple[str, nn.Parameter]], plan: Plan) -> torch.optim.Optimizer:
    groups = _groups(named, plan.rate)
    if plan.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=plan.weight_decay, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UsdError("train.optimizer: adamw_8bit needs bitsandbytes; pip install bitsandbytes") from None
    return AdamW8bit(groups, weight_decay=plan.weight_decay)


def _groups(named: list[tuple[str, nn.Parameter]], rate: Callable[[str, nn.Parameter], float]) -> list[dict[str, Any]]:
    """The optimiser's groups: weights of the same share of the learning rate."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, weight in named:
        groups.setdefault(rate(name, weight), []).append(weight)
    return [{"params": weights, "rate": share} for share, weights in groups.items()]


def _accumulate(
    model: nn.Module,
    stream: Iterator[B],
    loss: Callable[[nn.Module, B], Terms],
    plan: Plan,
    accelerator: Accelerator,
    step: int,
) -> dict[str, float]:
    """Forward and backward over the step's micro-batches; returns the mean loss terms."""
    sums: dict[str, float] = {}
    for _ in range(plan.accumulation):
        batch = next(stream)
        with accelerator.autocast():
            terms = loss(model, batch)
        total = torch.stack([term for name, term in terms.items() if "/" not in name]).sum()
        if not torch.isfinite(total):
            found = ", ".join(f"{name} {float(term):g}" for name, term in terms.items())
            raise UsdError(
                f"step {step + 1}, {batch.label}: loss is not finite ({found}); "
                "lower its learning_rate or use precision: 'no'"
            )
        accelerator.backward(total / plan.accumulation)
        values = torch.stack([term.detach().float() for term in (total, *terms.values())])
        for name, mean in zip(("loss", *terms), accelerator.reduce(values, "mean").tolist(), strict=True):
            sums[name] = sums.get(name, 0.0) + mean / plan.accumulation
    return sums


def write_curve(curve: list[dict[str, float]], path: Path) -> None:
    """The training curve as CSV, for `dvc plots`; a term that a step lacks is empty."""
    names = list(dict.fromkeys(name for row in curve for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in curve)
    atomic_write(path, text.getvalue())

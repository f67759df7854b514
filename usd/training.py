"""The one training loop: annotators, base and control branches all run through `fit`.

To resume, run the same command again. All randomness is a function of the seed and the step, so a resumed run ends
with the same bits as an uninterrupted one.
"""

import csv
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from usd.errors import UsdError

CHECKPOINT = "checkpoint.safetensors"
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
    ema: float = 0.0
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


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on the numbers alone, such as (seed, step)."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def accelerator_for(device: str, precision: str) -> Accelerator:
    """Accelerate's device, precision and process set-up; `auto` takes a GPU where there is one."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsdError("device: cuda was asked for, but no GPU is visible; set it to auto or cpu")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a tenth of the time
    idle = DistributedDataParallelKwargs(find_unused_parameters=True)  # the light modules of the other tasks
    cpu = device == "cpu" or not torch.accelerator.is_available()  # must be said, or processes do not find each other
    return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[idle])


class Average:
    """Exponential moving average of trainable weights; early on it forgets faster, as in Karras et al. 2022."""

    def __init__(self, weights: list[nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.shadow = [weight.detach().clone() for weight in weights]

    def update(self, weights: list[nn.Parameter], step: int) -> None:
        """One step towards the weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for shadow, weight in zip(self.shadow, weights, strict=True):
            shadow.lerp_(weight.detach(), 1 - decay)

    def into(self, weights: list[nn.Parameter]) -> None:
        """Put the average in the weights' place; without a decay they stay."""
        if self.decay:
            _copy(self.shadow, weights)


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
    average = Average(weights, plan.ema)
    state = TrainingState(plan, named, optimizer, average)
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
            average.update(weights, step)
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
    average.into(weights)
    return state.curve


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


@contextmanager
def averaged(weights: list[nn.Parameter], average: Average) -> Iterator[None]:
    """Within the block the weights are the averaged ones."""
    kept = [weight.detach().clone() for weight in weights]
    average.into(weights)
    try:
        yield
    finally:
        _copy(kept, weights)


@torch.no_grad()
def _copy(values: list[Tensor], weights: list[nn.Parameter]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)


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
                "lower train.learning_rate or use precision: 'no'"
            )
        accelerator.backward(total / plan.accumulation)
        for name, term in {"loss": total, **terms}.items():
            mean = accelerator.reduce(term.detach().float(), "mean")
            sums[name] = sums.get(name, 0.0) + float(mean) / plan.accumulation
    return sums


class TrainingState:
    """What a resumed run needs: weights, average, optimiser, curve and step, in one safetensors file."""

    def __init__(
        self, plan: Plan, named: list[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer, average: Average
    ) -> None:
        self.plan, self.named, self.optimizer, self.average = plan, named, optimizer, average
        self.identity = _text(plan.identity)
        self.curve: list[dict[str, float]] = []
        self.path = plan.run_dir / CHECKPOINT

    def save(self, step: int) -> None:
        """Write the state under a temporary name, then rename it."""
        tensors: dict[str, Tensor] = {}
        for (name, weight), shadow in zip(self.named, self.average.shadow, strict=True):
            tensors[f"weight.{name}"], tensors[f"average.{name}"] = weight.detach(), shadow
            for key, value in self.optimizer.state[weight].items():
                value = torch.as_tensor(value)  # what is not of the weight's shape may be shared by many
                tensors[f"{key}.{name}"] = value if value.shape == weight.shape else value.clone()
        note = {"step": str(step), "identity": self.identity, "curve": json.dumps(self.curve)}
        scratch = self.path.with_suffix(".partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, scratch, note)
            os.replace(scratch, self.path)
        except (OSError, SafetensorError) as error:
            scratch.unlink(missing_ok=True)
            raise UsdError(f"{self.path}: could not be written ({error}); free some space and run again") from error

    def load(self) -> int:
        """Take up the state on disk, if there is one; returns the step to go on from."""
        if not self.path.exists():
            return 0
        try:
            with safe_open(self.path, "pt") as file:
                note = file.metadata()
                self._check(json.loads(note["identity"]))
                parts: dict[str, list[str]] = {}  # of the optimiser's state, by weight
                for kind, _, name in (key.partition(".") for key in file.keys()):  # noqa: SIM118 (it is no mapping)
                    if kind not in ("weight", "average"):
                        parts.setdefault(name, []).append(kind)
                with torch.no_grad():
                    for (name, weight), shadow in zip(self.named, self.average.shadow, strict=True):
                        weight.copy_(file.get_tensor(f"weight.{name}"))
                        shadow.copy_(file.get_tensor(f"average.{name}"))
                        if name in parts:  # else a light module whose task has not come up yet
                            self.optimizer.state[weight] = {
                                kind: _beside(weight, file.get_tensor(f"{kind}.{name}")) for kind in parts[name]
                            }
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise UsdError(f"{self.path}: not a readable checkpoint ({error}); delete it to start afresh") from error
        self.curve = json.loads(note["curve"])
        return int(note["step"])

    def _check(self, found: dict[str, Any]) -> None:
        """Refuse a checkpoint of another run, naming what differs."""
        wanted = json.loads(self.identity)
        different = [key for key in sorted(found.keys() | wanted.keys()) if found.get(key) != wanted.get(key)]
        if different:
            raise UsdError(
                f"{self.path}: belongs to a run with other {', '.join(different)}; delete it to start afresh, "
                "or restore those values to resume"
            )


def _beside(weight: nn.Parameter, value: Tensor) -> Tensor | int:
    """A part of the optimiser's state as it was: a count, or a tensor laid out in memory as its weight is.

    Fused and 8-bit optimisers pair the elements by address.
    """
    if value.dtype == torch.int64:
        return int(value)
    if value.shape != weight.shape:
        return value.to(weight.device)
    return torch.empty_like(weight, dtype=value.dtype).copy_(value)


def write_curve(curve: list[dict[str, float]], path: Path) -> None:
    """The training curve as CSV, for `dvc plots`; a term that a step lacks is empty."""
    names = list(dict.fromkeys(name for row in curve for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in curve)


def forget(run_dir: Path) -> None:
    """Remove the checkpoint of a run whose results are written, so that the next run starts afresh."""
    (run_dir / CHECKPOINT).unlink(missing_ok=True)


def code_digest() -> str:
    """Digest of the code that shapes a training: a checkpoint made by other code is not resumed."""
    package = Path(__file__).parent
    parts = ("data", "model", "diffusion", "training.py", "finetuning.py", "pretraining.py", "tasks.py")
    files = [file for part in parts for file in sorted(package.glob(f"{part}/*.py" if "." not in part else part))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _text(identity: dict[str, Any]) -> str:
    return json.dumps({**identity, "code": code_digest()}, sort_keys=True, default=str)

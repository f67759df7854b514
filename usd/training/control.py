"""Training of the control branch: the denoising loss, FAL and the indicator's own loss, over the one loop `fit`."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import AutoencoderKL
from torch import Tensor, nn

from usd.annotators.small import Annotator
from usd.config import Train, Variant
from usd.data.loader import Batch, training_loader
from usd.data.shards import Shards
from usd.data.stream import TrainingStream
from usd.determinism import accelerator_for, generator
from usd.diffusion.losses import clean_estimate, denoising_target, error_weight, feedback
from usd.diffusion.timesteps import draw
from usd.model.adapter import InContextAdapter
from usd.model.base import Base, decode, encode, encode_text, scale_factor
from usd.model.control import Denoiser, channels_last, control_from_unet, warm_start
from usd.tasks import TRAINED, Task
from usd.training.encoder_cache import EncoderCache
from usd.training.loop import Plan, Terms, fit

ALIGNMENT_GAIN = 4.0  # the query is this much louder than the noise beside it
TASK_NAMES = [task.name for task in TRAINED]


@dataclass(frozen=True)
class Draws:
    """The random numbers of one global batch, cut down to this process's items."""

    t: Tensor  # (B,) long
    noise: Tensor  # like the latents
    keep_text: Tensor  # (B,) bool
    keep_pair: Tensor  # (B,) bool


def new_denoiser(base: Base, variant: Variant, params: Train) -> Denoiser:
    """Base, control branch and adapter at their start, where the output is exactly the base's (unless warm-started)."""
    torch.manual_seed(params.seed)  # initial weights
    adapter = InContextAdapter(
        kind=variant.adapter,
        tasks=TASK_NAMES,
        widths=params.adapter_channels,
        outputs=base.unet.config.block_out_channels[0],
        scale=scale_factor(base.vae),
    )
    control = control_from_unet(base.unet)
    if params.warm_start:
        warm_start(control, params.warm_start)
    denoiser = Denoiser(base.unet, control, adapter)
    denoiser.unlock(params.unlock)
    if params.gradient_checkpointing:
        denoiser.save_memory()
        if isinstance(base.vae, AutoencoderKL):
            base.vae.enable_gradient_checkpointing()  # feedback goes through its decoder
    return denoiser


def rate(params: Train, name: str, weight: nn.Parameter) -> float:
    """A weight's share of the learning rate.

    Adam moves a weight by at most its rate a step: a zero convolution must come from 0 to about 1 in some dozen steps,
    while what the base has learned should last.
    """
    if weight.ndim > 1 and not weight.any():
        return params.zero_rate
    return params.pretrained_rate if name.startswith(("unet.", "control.")) else 1.0


def draws(params: Train, variant: Variant, index: int, shape: tuple[int, ...], rank: int = 0, world: int = 1) -> Draws:
    """Draw for micro-batch `index`; `shape` is that of this process's latents."""
    random = generator(params.seed, index)
    total = shape[0] * world
    t = draw(variant.timesteps, params.ess_steps, total, random)
    dropped = torch.rand(total, generator=random)  # text alone, pair alone, both: `dropout` each
    noise = torch.randn((total, *shape[1:]), generator=random)
    p = params.dropout
    keep_text = (dropped >= p) & ~((2 * p <= dropped) & (dropped < 3 * p))
    keep_pair = ~((p <= dropped) & (dropped < 3 * p))
    mine = slice(rank * shape[0], (rank + 1) * shape[0])
    return Draws(t[mine], noise[mine], keep_text[mine], keep_pair[mine])


class Objective:
    """The loss of one batch as a function of (model, batch)."""

    def __init__(
        self, base: Base, annotators: dict[str, Annotator], params: Train, variant: Variant, accelerator: Accelerator
    ) -> None:
        self.base, self.annotators, self.params, self.variant = base, annotators, params, variant
        cache = EncoderCache(base, int(params.encoder_cache * 2**30))
        self.latents: Callable[[Tensor], Tensor] = cache.latents if cache.limit else partial(encode, base.vae)
        self.text: Callable[[list[str]], Tensor] = cache.text if cache.limit else partial(encode_text, base)
        self.device, self.rank, self.world = accelerator.device, accelerator.process_index, accelerator.num_processes

    def __call__(self, model: nn.Module, batch: Batch) -> Terms:
        """The terms of the loss of one step, on a mixture of tasks."""
        query, pair = batch.query, torch.cat([batch.example_source, batch.example_target], dim=1)
        items = {task: batch.task == number for number, task in enumerate(batch.tasks)}  # which are each task's
        with torch.no_grad():
            x_0 = self.latents(batch.target).float()  # the scheduler computes in its precision
            drawn = draws(self.params, self.variant, batch.index, tuple(x_0.shape), self.rank, self.world)
            t, noise, keep_pair = drawn.t.to(self.device), drawn.noise.to(self.device), drawn.keep_pair.to(self.device)
            x_t = self.base.scheduler.add_noise(x_0, noise, t).contiguous(memory_format=torch.channels_last)
            kept = [prompt if keep else "" for prompt, keep in zip(batch.prompts, drawn.keep_text, strict=True)]
            text = self.text(kept)
        indicator = F.one_hot(batch.task, len(TASK_NAMES)).float()
        prediction, alone, logits = model(x_t, t, text, pair, query, indicator, keep_pair)
        prediction = prediction.float()
        aim = denoising_target(self.base.scheduler, x_0, noise, t)
        errors = (prediction - aim).square().mean((1, 2, 3))
        terms = mean_and_parts(
            "denoising", {task.name: error_weight(task) * errors[mine] for task, mine in items.items()}
        )
        if self.variant.feedback:
            estimate = clean_estimate(self.base.scheduler, prediction, x_t, t)
            losses = {
                task.name: self._feedback(task, estimate[mine], query[mine], t[mine]) for task, mine in items.items()
            }
            terms |= mean_and_parts("feedback", losses)
        if self.params.alignment:
            with torch.no_grad():
                own = ALIGNMENT_GAIN * self.base.unet.conv_in(self.latents(query))
            off = (alone.float() - own).square().mean() / own.square().mean()
            terms["alignment"] = self.params.alignment * off
        if logits is not None:
            terms["indicator"] = 0.1 * F.cross_entropy(logits.float(), batch.task)
        return terms

    def _feedback(self, task: Task, estimate: Tensor, query: Tensor, t: Tensor) -> Tensor:
        """FAL of one task's items."""
        below, read = self.params.feedback_below, self.annotators[task.map.name]
        makes_image = task.direction == "map2image"
        loss = feedback(estimate, query, t, below, partial(decode, self.base.vae), read, makes_image)
        return self.variant.feedback * task.map.feedback_weight * loss


def mean_and_parts(term: str, parts: dict[str, Tensor]) -> Terms:
    """A loss term over tasks of equal weight, and each task's own."""
    means = {name: part.mean() for name, part in parts.items()}
    each = {f"{term}/{name}": mean.detach() for name, mean in means.items()}
    return {term: torch.stack(list(means.values())).mean()} | dict(sorted(each.items()))


def finetune(
    base: Base,
    annotators: dict[str, Annotator],
    shards: Shards,
    params: Train,
    variant: Variant,
    run_dir: Path,
    inputs: dict[str, str],
    log: Callable[[int, dict[str, float]], None] = lambda step, values: None,
    preview: Callable[[Denoiser, int], None] | None = None,
    title: str = "train",
) -> tuple[Denoiser, list[dict[str, float]]]:
    """Train one variant; returns it with averaged weights, and the curve.

    A checkpoint is resumed if parameters, code, data and base are the same, and so are `inputs`: digests of the rest.
    """
    accelerator = accelerator_for(params.device, params.precision)
    base.freeze().to(accelerator.device)
    denoiser = new_denoiser(base, variant, params).to(accelerator.device)
    channels_last(denoiser.train())

    def batches(start: int) -> Iterator[Batch]:
        rank, world = accelerator.process_index, accelerator.num_processes
        stream = TrainingStream(shards["train"], params.seed, params.batch_size, params.flip, start, rank, world)
        return training_loader(stream, params.workers, accelerator.device)

    shared = {key: value for key, value in asdict(params).items() if key != "workers"}
    found = {"data": shards.digest, "base weights": base.digest(), "processes": accelerator.num_processes}
    identity = {**shared, **inputs, **found, "variant": asdict(variant)}
    plan = Plan(
        steps=params.steps,
        learning_rate=params.learning_rate,
        run_dir=run_dir,
        identity=identity,
        rate=partial(rate, params),
        warmup=params.warmup,
        optimizer=params.optimizer,
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        ema=params.ema,
        accumulation=params.accumulation,
        checkpoint_every=params.checkpoint_every,
        log_every=params.log_every,
        preview_every=params.preview_every if preview else 0,
    )

    def show(step: int) -> None:
        if preview:
            preview(denoiser, step)
            denoiser.train()

    curve = fit(
        denoiser,
        batches,
        Objective(base, annotators, params, variant, accelerator),
        plan,
        accelerator,
        log,
        show,
        title,
    )
    return denoiser.eval(), curve

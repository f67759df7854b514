"""What training the control branch minimises: the denoising loss, FAL and the indicator's own loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from usd.annotators.bundled import Annotator
from usd.config import Train, Variant
from usd.data.loader import Batch
from usd.determinism import generator
from usd.diffusion.losses import feedback, mean_square, task_weights
from usd.diffusion.prediction import clean_estimate, ddim_step, denoising_target
from usd.diffusion.timesteps import draw_timesteps, sampling_timesteps
from usd.errors import UsdError
from usd.model.base import Base, decode, encode, encode_text
from usd.model.control import predict
from usd.tasks import TRAINED
from usd.training.loop import Terms


@dataclass(frozen=True)
class Draws:
    """The random numbers of one micro-batch, or of one process's share of it."""

    t: Tensor  # (B,) long
    noise: Tensor  # (B, C, h, w)
    keep_text: Tensor  # (B,) bool
    keep_pair: Tensor  # (B,) bool
    stops: Tensor  # (B, N) bool: where on the list a sampler stops, at t last; without stops x_t is made of x_0

    def of_process(self, rank: int, world: int) -> "Draws":
        """The items of process `rank`: the same numbers are drawn whatever the number of processes."""
        return Draws(**{name: whole.chunk(world)[rank] for name, whole in vars(self).items()})

    def to(self, device: torch.device) -> "Draws":
        """The same numbers on a device."""
        return Draws(**{name: part.to(device) for name, part in vars(self).items()})


def draw_all(params: Train, variant: Variant, index: int, shape: tuple[int, ...]) -> Draws:
    """Draw for micro-batch `index`, whose latents have `shape` over all processes: a function of seed and index."""
    random, count = generator(params.seed, index), shape[0]
    t = draw_timesteps(variant.timesteps, params.ess_steps, count, random)
    u = torch.rand(count, generator=random)
    noise = torch.randn(shape, generator=random)
    p = params.dropout  # [0, p) drops the text, [p, 2p) the pair, [2p, 3p) both
    return Draws(
        t=t,
        noise=noise,
        keep_text=(u >= p) & ((u < 2 * p) | (u >= 3 * p)),
        keep_pair=(u < p) | (u >= 3 * p),
        stops=draw_stops(params, variant, t, random),
    )


def draw_stops(params: Train, variant: Variant, t: Tensor, random: torch.Generator) -> Tensor:
    """Mask (B, N) of the timesteps of the list at which a sampler stops on its way to t (B,).

    They are t itself, and each earlier one with p = ½. The first timestep is where it starts; items at it have no
    stops, and are made of x_0, of which little is left there. Only a share `self_estimates` of the others has stops.
    """
    steps = torch.tensor(sampling_timesteps(variant.timesteps, params.ess_steps))
    chosen = torch.rand(len(t), 1, generator=random) < variant.self_estimates
    between = (torch.rand(len(t), len(steps), generator=random) < 0.5) & (steps > t[:, None])
    return chosen & (between | (steps == t[:, None])) & (steps < steps[0])


@dataclass(frozen=True)
class Objective:
    """The loss terms of one micro-batch: (model, batch) → terms, whose sum is minimised."""

    base: Base
    annotators: Mapping[str, Annotator]  # by map
    params: Train
    variant: Variant
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        """Check the annotators.

        Raises:
            UsdError: FAL has no annotator for a trained map.
        """
        watched = [task.map.name for task in TRAINED if self.variant.feedback_weight and task.map.feedback_weight]
        for name in watched:
            if name not in self.annotators:
                raise UsdError(f"no annotator for the {name} map; set feedback_weight=0 in its row of usd/tasks.py")

    def __call__(self, model: nn.Module, batch: Batch) -> Terms:
        """The terms: `denoising`, and as the variant has it `feedback` and `indicator`."""
        params, scheduler = self.params, self.base.scheduler
        pair = torch.cat([batch.example_source, batch.example_target], dim=1)  # (B, 6, H, W)
        indicator = F.one_hot(batch.task, len(batch.tasks)).float()  # (B, N)
        with torch.no_grad():
            x_0 = self._latents(batch)  # (B, C, h, w)
            drawn = self._draw(batch, x_0)
            t, noise = drawn.t, drawn.noise
            text, conditions = self._text(batch, drawn.keep_text), (pair, batch.query, indicator, drawn.keep_pair)
            x_t = scheduler.add_noise(x_0, noise, t)  # √ᾱ_t·x_0 + √(1 − ᾱ_t)·ε
            x_t = self._reached(model, x_t, drawn, text, conditions).contiguous(memory_format=torch.channels_last)
        prediction, logits = model(x_t, t, text, *conditions)
        error = mean_square(prediction.float() - denoising_target(scheduler, x_0, x_t, t))  # (B,) ‖f(x_t) − target‖²
        terms = by_task("denoising", task_weights(batch.tasks, params.map_weight).to(error)[batch.task] * error, batch)
        if self.variant.feedback_weight:
            estimate = clean_estimate(scheduler, prediction.float(), x_t, t)  # x̂_0 (B, C, h, w)
            terms |= by_task("feedback", self.variant.feedback_weight * self._feedback(estimate, t, batch), batch)
        if logits is not None:
            cross_entropy = F.cross_entropy(logits.float(), batch.task)  # −log p(task | pair)
            terms["indicator"] = params.indicator_weight * cross_entropy
        return terms

    def _reached(
        self, model: nn.Module, x_t: Tensor, drawn: Draws, text: Tensor, conditions: tuple[Tensor, ...]
    ) -> Tensor:
        """x_t (B, C, h, w). Items with stops get the x_t that DDIM reaches from pure noise with the current model.

        A sampler knows no truth, only the model's own estimates. Trained on the truth alone, a model takes the errors
        of its last step for signal, so that more steps make it worse (exposure bias; arXiv 2312.00210).
        """
        if not drawn.stops.any():
            return x_t
        steps = torch.tensor(sampling_timesteps(self.variant.timesteps, self.params.ess_steps), device=x_t.device)
        at, ordinal = steps[0].repeat(len(x_t)), drawn.stops.cumsum(1)
        x_t = torch.where(drawn.stops.any(1)[:, None, None, None], drawn.noise, x_t)
        denoiser = extract_model_from_parallel(model)
        features = denoiser.features(*conditions)  # (B, C, h, w): once, as they do not depend on t
        for number in range(1, int(ordinal.max()) + 1):
            rows, columns = (drawn.stops & (ordinal == number)).nonzero(as_tuple=True)
            x, t = x_t[rows], at[rows]
            prediction = predict(denoiser.unet, denoiser.control, x, t, text[rows], features[rows])
            x_t[rows] = ddim_step(self.base.scheduler, prediction.float(), x, t, steps[columns])
            at[rows] = steps[columns]
        return x_t

    def _latents(self, batch: Batch) -> Tensor:
        """x_0 (B, C, h, w), in the single precision that the scheduler needs."""
        return (encode(self.base.vae, batch.target) if batch.latents is None else batch.latents).float()

    def _text(self, batch: Batch, keep: Tensor) -> Tensor:
        """Text states (B, L, D) of the prompts, of an empty one where the text is dropped.

        A map's name is always dropped where a pair is shown: see `usd.tasks.Task.prompt`.
        """
        named = [self.variant.adapter == "query" or task.direction == "map2image" for task in batch.tasks]
        keep = keep & torch.tensor(named, device=keep.device)[batch.task]
        if batch.text is None:
            prompts = zip(batch.prompts, keep.tolist(), strict=True)
            return encode_text(self.base, [prompt if kept else "" for prompt, kept in prompts])
        return torch.where(keep[:, None, None], batch.text, encode_text(self.base, [""]).float())

    def _draw(self, batch: Batch, x_0: Tensor) -> Draws:
        """This process's share, on the device of its latents."""
        whole = draw_all(self.params, self.variant, batch.index, (len(x_0) * self.world, *x_0.shape[1:]))
        return whole.of_process(self.rank, self.world).to(x_0.device)

    def _feedback(self, estimate: Tensor, t: Tensor, batch: Batch) -> Tensor:
        """FAL (B,), weighted by map.

        Items with t > `feedback_below` count as zero and are not decoded: 200 in the paper, whose results come from
        low t; where one step from the highest t is the result, all count.
        """
        losses = torch.zeros(len(t), device=t.device)
        for number, task in enumerate(batch.tasks):
            makes_image = task.direction == "map2image"
            weight = task.map.feedback_weight * (1.0 if makes_image else self.params.feedback_image2map)
            rows = ((batch.task == number) & (t <= self.params.feedback_below)).nonzero()[:, 0]
            if len(rows) and weight:
                annotate = self.annotators[task.map.name]
                loss = feedback(estimate[rows], batch.query[rows], self._decode, annotate, makes_image)
                losses = losses.index_add(0, rows, weight * loss.float())
        return losses

    def _decode(self, latents: Tensor) -> Tensor:
        return decode(self.base.vae, latents)


def by_task(term: str, losses: Tensor, batch: Batch) -> Terms:
    """A term's mean over the items (B,), and for the log its mean over each task's."""
    counts = torch.bincount(batch.task, minlength=len(batch.tasks))
    sums = torch.zeros(len(batch.tasks), device=losses.device).index_add(0, batch.task, losses.detach())
    each = {f"{term}/{task.name}": mean for task, mean in zip(batch.tasks, sums / counts, strict=True)}
    return {term: losses.mean()} | dict(sorted(each.items()))

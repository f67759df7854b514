"""The training step of a variant as one CUDA graph.

A network this small keeps a GPU waiting for Python, which starts thousands of kernels a step. A graph starts them all
at once, but its shapes must not depend on values. So items are of all tasks in turn, and the ways of the
self-estimates are computed for the items with most stops first. The numbers are those of `usd.training.objective`,
as a test shows. It needs a GPU to be of use; without one it does the same slowly.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from usd.data.loader import Batch
from usd.diffusion.losses import feedback, mean_square, task_weights
from usd.diffusion.prediction import clean_estimate, ddim_step, denoising_target
from usd.diffusion.timesteps import sampling_timesteps
from usd.model.adapter import SeparateGather
from usd.model.base import decode, encode, encode_text, prompt_tokens
from usd.model.control import Denoiser, predict
from usd.tasks import TRAINED
from usd.training.loop import Terms
from usd.training.objective import Draws, Objective, draw_all

TASKS = len(TRAINED)
MARGIN = 3.5  # standard deviations of the number of items that have a stop


def read_in_order(reader: SeparateGather, condition: Tensor) -> Tensor:
    """What a `SeparateGather` makes of items that are of all tasks in turn, without looking which rows are whose."""
    x, branches = condition * 2 - 1, len(reader.light)
    parts = [light(x[number::branches]) for number, light in enumerate(reader.light)]
    features: Tensor = reader.out(reader.shared(torch.stack(parts, 1).flatten(0, 1)))
    return features


@dataclass(frozen=True)
class Inputs:
    """A micro-batch, in memory that stays in its place. Items are of all tasks in turn."""

    query: Tensor  # (B, 3, H, W), as are the next three
    target: Tensor
    example_source: Tensor
    example_target: Tensor
    t: Tensor  # (B,) long
    noise: Tensor  # (B, C, h, w)
    keep_pair: Tensor  # (B,)
    text: Tensor  # (B, L, D)
    order: Tensor  # (B,) long: the items with most stops first
    place: Tensor  # (B,) long: where each item is in that order
    stops: Tensor  # (B,) long: how many, in that order
    later: Tensor  # (N − 1, B) long: the timestep of each stop, in that order


class Step:
    """The loss terms of a variant and their gradients, of a micro-batch at a time."""

    def __init__(self, objective: Objective, denoiser: Denoiser, size: int, device: torch.device) -> None:
        self.objective, self.denoiser, self.device = objective, denoiser, device
        self.params, self.base, self.variant = objective.params, objective.base, objective.variant
        self.weights = [weight for weight in denoiser.parameters() if weight.requires_grad]
        self.steps = sampling_timesteps(self.variant.timesteps, self.params.ess_steps)
        count, settings = self.params.batch_size * TASKS, self.base.unet.config
        self.task = (torch.arange(count) % TASKS).to(device)
        self.task_weights = task_weights(TRAINED, self.params.map_weight).to(device)[self.task]
        whole, places = torch.zeros(count, dtype=torch.long), (len(self.steps) - 1, count)
        latents = torch.zeros(count, settings.in_channels, settings.sample_size, settings.sample_size)
        pictures = [torch.zeros(count, 3, size, size) for _ in range(4)]
        text = torch.zeros(count, prompt_tokens(self.base), settings.cross_attention_dim)
        given = (whole, latents, torch.zeros(count), text, whole, whole, whole, torch.zeros(places, dtype=torch.long))
        self.inputs = Inputs(*(part.clone().to(device) for part in (*pictures, *given)))
        self.text: dict[str, Tensor] = {}  # states (L, D) by prompt
        self.graphs: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Terms, list[Tensor | None]]] = {}
        stops = len(self.steps) - 1 if self.variant.self_estimates else 0
        self.usual, self.most = self._usual(count)[:stops], (count,) * stops

    def _usual(self, count: int) -> tuple[int, ...]:
        """For each stop the items that a micro-batch seldom has more of with that many: t is any of the list."""
        chances = []
        for number in range(len(self.steps) - 1):
            before = range(len(self.steps) - 1)  # timesteps between the first and t
            ways = [sum(math.comb(n, k) for k in range(number, n + 1)) / 2**n for n in before]
            chances.append(sum(ways) / len(self.steps))
        return tuple(min(count, 1 + math.ceil(count * p + MARGIN * math.sqrt(count * p * (1 - p)))) for p in chances)

    def __call__(self, batch: Batch) -> Terms:
        """The terms by name, as the curve has them, on the device; the weights have their gradients."""
        stops = self._fill(batch)
        fits = all(int((stops > number).sum()) <= most for number, most in enumerate(self.usual))
        return self._run(self.usual if fits else self.most)

    def _fill(self, batch: Batch) -> Tensor:
        """Copy a micro-batch and what is drawn for it; returns how many stops each item has."""
        drawn = draw_all(self.params, self.variant, batch.index, tuple(self.inputs.noise.shape))
        stops = drawn.stops.sum(1)
        order = torch.argsort(stops, descending=True, stable=True)
        later = torch.zeros_like(self.inputs.later, device="cpu")
        steps, ordinal = torch.tensor(self.steps), drawn.stops.cumsum(1)
        for number in range(int(stops.max())):
            rows, columns = (drawn.stops & (ordinal == number + 1)).nonzero(as_tuple=True)
            later[number, rows] = steps[columns]
        pictures = (batch.query, batch.target, batch.example_source, batch.example_target)
        text = self._text(batch, drawn)
        places = (order, torch.argsort(order), stops[order], later[:, order])
        parts = (*pictures, drawn.t, drawn.noise, drawn.keep_pair.float(), text, *places)
        for place, part in zip(vars(self.inputs).values(), parts, strict=True):
            place.copy_(part, non_blocking=True)
        return stops

    @torch.no_grad()
    def _text(self, batch: Batch, drawn: Draws) -> Tensor:
        """Text states (B, L, D), of an empty prompt where the text is dropped or a pair says which map is wanted."""
        named = [self.variant.adapter == "query" or task.direction == "map2image" for task in TRAINED]
        kept = [keep and named[i % TASKS] for i, keep in enumerate(drawn.keep_text.tolist())]
        prompts = [prompt if keep else "" for prompt, keep in zip(batch.prompts, kept, strict=True)]
        if new := sorted(set(prompts) - self.text.keys()):
            self.text |= dict(zip(new, encode_text(self.base, new).float(), strict=True))
        return torch.stack([self.text[prompt] for prompt in prompts])

    def _run(self, counts: tuple[int, ...]) -> Terms:
        if self.device.type != "cuda":
            self._forget()
            return self.compute(counts)
        if counts not in self.graphs:
            self.graphs[counts] = self._captured(counts)
        graph, terms, gradients = self.graphs[counts]
        graph.replay()
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return terms

    def _captured(self, counts: tuple[int, ...]) -> tuple[torch.cuda.CUDAGraph, Terms, list[Tensor | None]]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # chooses kernels and fills caches
                self._forget()
                self.compute(counts)
        torch.cuda.current_stream().wait_stream(side)
        self._forget()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            terms = self.compute(counts)
        return graph, terms, [weight.grad for weight in self.weights]

    def _forget(self) -> None:
        for weight in self.weights:
            weight.grad = None

    def compute(self, counts: tuple[int, ...]) -> Terms:
        """Forward and backward; `counts` are the items that go to their first stop, their second and so on."""
        given, scheduler, denoiser = self.inputs, self.base.scheduler, self.denoiser
        features = self._features()
        with torch.no_grad():
            x_0 = encode(self.base.vae, given.target).float()
            x_t = scheduler.add_noise(x_0, given.noise, given.t)
            if counts:
                x_t = self._reached(counts, x_t, features.detach())
            x_t = x_t.contiguous(memory_format=torch.channels_last)
        prediction = predict(denoiser.unet, denoiser.control, x_t, given.t, given.text, features).float()
        error = self.task_weights * mean_square(prediction - denoising_target(scheduler, x_0, x_t, given.t))
        terms, each = {"denoising": error.mean()}, {"denoising": error.view(-1, TASKS).mean(0)}
        if self.variant.feedback_weight:
            each["feedback"] = self._feedback(clean_estimate(scheduler, prediction, x_t, given.t))
            terms["feedback"] = each["feedback"].mean()
        if denoiser.adapter.indicator is not None:
            logits = denoiser.adapter.indicator(torch.cat([given.example_source, given.example_target], 1))
            terms["indicator"] = self.params.indicator_weight * F.cross_entropy(logits.float(), self.task)
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        for term, values in each.items():
            terms |= {f"{term}/{task.name}": value for task, value in zip(TRAINED, values, strict=True)}
        return {name: value.detach() for name, value in [("loss", total), *sorted(terms.items())]}

    def _features(self) -> Tensor:
        """The adapter's features (B, C, h, w)."""
        given, adapter = self.inputs, self.denoiser.adapter
        features = read_in_order(adapter.query, given.query)
        if adapter.example is not None:
            pair = torch.cat([given.example_source, given.example_target], 1)
            features = features + read_in_order(adapter.example, pair) * given.keep_pair[:, None, None, None]
        return features

    def _reached(self, counts: tuple[int, ...], x_t: Tensor, features: Tensor) -> Tensor:
        """x_t (B, C, h, w). Items with stops get the x_t that DDIM reaches from pure noise with the current model."""
        given, denoiser = self.inputs, self.denoiser
        text, features = given.text[given.order], features[given.order]
        x = torch.where((given.stops > 0)[:, None, None, None], given.noise[given.order], x_t[given.order])
        at = torch.full_like(given.t, self.steps[0])
        for number, count in enumerate(counts):
            stops = given.stops[:count] > number
            now, t = x[:count].contiguous(memory_format=torch.channels_last), at[:count]
            later = torch.where(stops, given.later[number, :count], t)
            prediction = predict(denoiser.unet, denoiser.control, now, t, text[:count], features[:count])
            moved = ddim_step(self.base.scheduler, prediction.float(), now, t, later)
            x = torch.cat([torch.where(stops[:, None, None, None], moved, now), x[count:]])
            at = torch.cat([later, at[count:]])
        return x[given.place]

    def _feedback(self, estimate: Tensor) -> Tensor:
        """FAL of each task (N,)."""
        found = []
        for number, task in enumerate(TRAINED):
            makes_image = task.direction == "map2image"
            weight = task.map.feedback_weight * (1.0 if makes_image else self.params.feedback_image2map)
            rows, annotate = slice(number, None, TASKS), self.objective.annotators[task.map.name]
            loss = (
                feedback(estimate[rows], self.inputs.query[rows], self._decode, annotate, makes_image).mean()
                if weight
                else estimate.new_zeros(())
            )
            found.append(self.variant.feedback_weight * weight * loss)
        return torch.stack(found)

    def _decode(self, latents: Tensor) -> Tensor:
        return decode(self.base.vae, latents)

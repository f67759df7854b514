"""The denoising loss and FAL, Feedback-Aided Learning.

With a scheduler's ᾱ_t: x_t = √ᾱ_t·x_0 + √(1 − ᾱ_t)·ε. The network's output f(x_t) is an estimate of x_0 (`sample`), of
ε (`epsilon`) or of v = √ᾱ_t·ε − √(1 − ᾱ_t)·x_0 (`v_prediction`).
"""

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from usd.tasks import Task


def clean_estimate(scheduler: DDIMScheduler, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """x̂_0 (B, C, h, w), the clean latents that a prediction of any type stands for; differentiable."""
    alpha_bar: Tensor = scheduler.alphas_cumprod.to(x_t.device)[t][:, None, None, None]  # (B, 1, 1, 1)
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return prediction
    if kind == "epsilon":
        return (x_t - noise * prediction) / signal
    return signal * x_t - noise * prediction  # v_prediction


def denoising_target(scheduler: DDIMScheduler, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """What the network should predict from x_t (B, C, h, w), however that was made: x_0, ε or v.

    ε is what is left of x_t beside √ᾱ_t·x_0. Where x_t is made of the truth, that is the noise that was added.
    """
    alpha_bar: Tensor = scheduler.alphas_cumprod.to(x_t.device)[t][:, None, None, None]  # (B, 1, 1, 1)
    signal, deviation = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return x_0
    noise = (x_t - signal * x_0) / deviation
    return noise if kind == "epsilon" else signal * noise - deviation * x_0  # v_prediction


def feedback(
    estimate: Tensor,
    query: Tensor,
    decode: Callable[[Tensor], Tensor],
    annotate: Callable[[Tensor], Tensor],
    makes_image: bool,
) -> Tensor:
    """FAL: the squared distance (B,) between what an annotator A reads and the map it should agree with.

    Map2Image: ‖A(D(x̂_0)) − q‖², as the generated image should show the query map. Image2Map: ‖D(x̂_0) − A(q)‖², as the
    generated map should be the query image's. The gradient reaches `estimate` in both, through decoder and annotator.

    Args:
        estimate: x̂_0, latents (B, C, h, w).
        query: q (B, 3, H, W) in [0, 1].
        decode: D, from latents to images, nominally in [0, 1].
        annotate: A, from images to maps of the same shape.
        makes_image: whether the task is Map2Image.
    """
    generated = decode(estimate)  # (B, 3, H, W)
    if makes_image:
        return mean_square(annotate(generated.clamp(0, 1)) - query)
    with torch.no_grad():
        read = annotate(query)
    return mean_square(generated - read)


def mean_square(error: Tensor) -> Tensor:
    """The mean square (B,) of each item of (B, C, h, w)."""
    return error.square().mean((1, 2, 3))


def task_weights(tasks: tuple[Task, ...], map_weight: float) -> Tensor:
    """Weight of each task's squared error (N,). Maps vary less than images, so their errors would be swamped."""
    return torch.tensor([map_weight if task.direction == "image2map" else 1.0 for task in tasks])

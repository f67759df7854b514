"""The denoising loss and FAL, Feedback-Aided Learning."""

from collections.abc import Callable

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from usd.tasks import Task

MAP_WEIGHT = 2.0


def error_weight(task: Task) -> float:
    """Of a task's squared error: maps vary less than images, and would drown in their errors."""
    return MAP_WEIGHT if task.direction == "image2map" else 1.0


def clean_estimate(scheduler: DDIMScheduler, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """x̂0, the one-step estimate of the latents (B, C, h, w), of any prediction type; differentiable."""
    alpha_bar: Tensor = scheduler.alphas_cumprod.to(x_t.device)[t][:, None, None, None]
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return prediction
    if kind == "epsilon":
        return (x_t - noise * prediction) / signal
    return signal * x_t - noise * prediction  # v_prediction


def denoising_target(scheduler: DDIMScheduler, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the U-Net is trained to predict from x_t."""
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return x_0
    return noise if kind == "epsilon" else scheduler.get_velocity(x_0, noise, t)


def feedback(
    estimate: Tensor,
    query: Tensor,
    t: Tensor,
    below: int,
    decode: Callable[[Tensor], Tensor],
    annotate: Callable[[Tensor], Tensor],
    makes_image: bool,
) -> Tensor:
    """FAL: the squared distance between what an annotator reads and the map it should agree with; a scalar.

    Map2Image: the annotator reads the generated image, which should show the query map. Image2Map: it reads the
    query image, whose map the generated one should be. Items with t > `below` count as zero and are not decoded (200
    in the paper, whose results come from low t; where one step from the highest t is the result, all count). The
    gradient reaches `estimate` in both.

    Args:
        estimate: x̂0, latents (B, C, h, w).
        query: (B, 3, H, W) in [0, 1].
        t: timesteps (B,).
        below: items with a higher t count as zero.
        decode: latents to images, nominally in [0, 1].
        annotate: images (B, 3, H, W) in [0, 1] to their maps, of the same shape and range.
        makes_image: whether the direction is Map2Image.
    """
    rows = (t <= below).nonzero()[:, 0]
    if not len(rows):
        return estimate.sum() * 0.0
    generated, query = decode(estimate[rows]), query[rows]
    if makes_image:
        difference = annotate(generated.clamp(0, 1)) - query
    else:
        with torch.no_grad():
            read = annotate(query)
        difference = generated - read
    return difference.square().mean() * (len(rows) / len(t))

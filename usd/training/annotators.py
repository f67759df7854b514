"""Training of the small depth and segmentation networks."""

from pathlib import Path

import torch
from torch import Tensor

from usd.annotators.loading import load_annotators
from usd.data.classes import nearest_class
from usd.data.shards import Split
from usd.images import to_tensor
from usd.tasks import TASKS

HEADS = (TASKS["image2depth"], TASKS["image2seg"])


def classes(colours: Tensor) -> Tensor:
    """Class ids (B, H, W) of segmentation maps (B, 3, H, W) in [0, 1]."""
    ids = nearest_class((colours.movedim(1, -1) * 255).cpu().numpy())
    return torch.from_numpy(ids).long().to(colours.device)


@torch.no_grad()
def measure(weights: Path, split: Split) -> dict[str, float]:
    """Error on the validation split: depth RMSE, and the share of pixels of the right class."""
    annotators = load_annotators(weights)
    image, depth, seg = (to_tensor(split.pictures(split.keys, field)) for field in ("image", "depth", "seg"))
    found = {name: torch.cat([annotators[name](part) for part in image.split(50)]) for name in ("depth", "seg")}
    return {
        "depth_rmse": round(float((found["depth"] - depth).square().mean((1, 2, 3)).mean().sqrt()), 5),
        "depth_floor": round(float((depth - depth.mean(0)).square().mean((1, 2, 3)).mean().sqrt()), 5),
        "seg_accuracy": round(float((classes(found["seg"]) == classes(seg)).float().mean()), 5),
    }

"""Training of the small depth and segmentation network on the ground truth."""

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usd.annotators.bundled import PerceptionNet
from usd.annotators.loading import load_annotators
from usd.config import Annotators
from usd.data.classes import nearest_class
from usd.data.loader import Batch, training_loader
from usd.data.shards import Shards, Split
from usd.data.stream import TrainingStream
from usd.determinism import accelerator_for
from usd.images import to_tensor
from usd.tasks import TASKS
from usd.training.checkpoint import identity_of
from usd.training.loop import Row, Terms, fit

HEADS = (TASKS["image2depth"], TASKS["image2seg"])
DEPTH, SEG = range(len(HEADS))


def train_annotators(shards: Shards, params: Annotators, run_dir: Path) -> tuple[PerceptionNet, list[Row]]:
    """The trained network and the curve."""
    items = params.batch_size // len(HEADS)
    accelerator = accelerator_for(params.device, params.precision)
    rank, world = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(params.seed)  # initial weights
    net = PerceptionNet(params.channels).to(accelerator.device)

    def loss(model: nn.Module, batch: Batch) -> Terms:
        image = torch.cat([batch.query, batch.example_source])  # (2B, 3, H, W)
        truth, task = torch.cat([batch.target, batch.example_target]), batch.task.repeat(2)
        depth, logits = model(image)  # (2B, 1, H, W), (2B, classes, H, W)
        error = (depth - truth[:, :1])[task == DEPTH]
        return {
            "depth": params.depth_weight * error.square().mean(),
            "segmentation": F.cross_entropy(logits[task == SEG], classes(truth[task == SEG])),
        }

    def batches(start: int) -> Iterator[Batch]:
        stream = TrainingStream(shards["train"], params.seed, items, params.flip, start, rank, world, HEADS)
        return training_loader(stream, params.workers, accelerator.device)

    identity = identity_of(params, "usd.stages.annotators", shards.digest) | {"processes": world}
    return net, fit(net, batches, loss, params, accelerator, run_dir, identity, title="annotators")


def classes(colours: Tensor) -> Tensor:
    """Class ids (B, H, W) of segmentation maps (B, 3, H, W) in [0, 1]."""
    ids = nearest_class((colours.movedim(1, -1) * 255).cpu().numpy())
    return torch.from_numpy(ids).long().to(colours.device)


@torch.no_grad()
def measure(weights: Path, split: Split) -> dict[str, float]:
    """Error on a split: depth RMSE beside that of the split's mean map, and the share of pixels of the right class."""
    annotators = load_annotators(weights)
    image, depth, seg = (to_tensor(split.pictures(split.keys, field)) for field in ("image", "depth", "seg"))
    found = {name: torch.cat([annotators[name](part) for part in image.split(50)]) for name in ("depth", "seg")}
    return {
        "depth_rmse": round(float((found["depth"] - depth).square().mean((1, 2, 3)).mean().sqrt()), 5),
        "depth_floor": round(float((depth - depth.mean(0)).square().mean((1, 2, 3)).mean().sqrt()), 5),
        "seg_accuracy": round(float((classes(found["seg"]) == classes(seg)).float().mean()), 5),
    }

"""Stage `annotators`: train the small depth and segmentation network on the ground truth."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from usd import config
from usd.checkpoint import forget
from usd.data.annotators import PerceptionNet, load_annotators, to_tensor
from usd.data.palette import nearest_class
from usd.data.record import atomic_directory, atomic_write
from usd.data.shards import Batch, TrainingStream, check_shards, picture, read_split, training_loader
from usd.determinism import accelerator_for
from usd.stages import RunDir, run
from usd.tasks import TASKS
from usd.training import Plan, Terms, fit, write_curve

HEADS = (TASKS["image2depth"], TASKS["image2seg"])


def main(shards: str, out: Path, metrics: Path, run_dir: RunDir) -> None:
    """Train on SHARDS, write the network to OUT and its validation error to METRICS; RUN_DIR resumes a killed run."""
    everything = config.load()
    params, accelerator = everything.annotators, accelerator_for(everything.train.device, "no")
    torch.manual_seed(params.seed)  # initial weights
    net = PerceptionNet(params.channels).to(accelerator.device)

    def loss(model: nn.Module, batch: Batch) -> Terms:
        image = torch.cat([batch.query, batch.example_source]).to(accelerator.device)
        truth = torch.cat([batch.target, batch.example_target]).to(accelerator.device)
        depth, logits = model(image)
        if batch.task.map.name == "depth":
            return {"depth": 10 * (depth - truth[:, :1]).square().mean()}
        return {"segmentation": F.cross_entropy(logits, classes(truth))}

    def batches(start: int) -> Iterator[Batch]:
        stream = TrainingStream(shards, params.seed, params.batch_size, 0.5, start, tasks=HEADS)
        return training_loader(stream, workers=1)

    identity = {"annotators": vars(params), "data": check_shards(shards)}
    plan = Plan(params.steps, params.learning_rate, run_dir, identity, ema=0.99)
    curve = fit(net, batches, loss, plan, accelerator, title="annotators")
    with atomic_directory(out) as scratch:
        save_file(
            {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()},
            scratch / "model.safetensors",
        )
        (scratch / "config.json").write_text(json.dumps(net.config) + "\n")
        write_curve(curve, scratch / "curve.csv")
    forget(run_dir)
    atomic_write(metrics, json.dumps(measure(out, shards), indent=1) + "\n")


def classes(colours: Tensor) -> Tensor:
    """Class ids (B, H, W) of segmentation maps (B, 3, H, W) in [0, 1]."""
    ids = nearest_class((colours.movedim(1, -1) * 255).cpu().numpy())
    return torch.from_numpy(ids).long().to(colours.device)


@torch.no_grad()
def measure(weights: Path, shards: str) -> dict[str, float]:
    """Error on the validation split: depth RMSE, and the share of pixels of the right class."""
    annotators = load_annotators(weights)
    samples = list(read_split(shards, "val"))
    image, depth, seg = (to_tensor(np.stack([picture(s, f) for s in samples])) for f in ("image", "depth", "seg"))
    found = {name: torch.cat([annotators[name](part) for part in image.split(50)]) for name in ("depth", "seg")}
    return {
        "depth_rmse": round(float((found["depth"] - depth).square().mean((1, 2, 3)).mean().sqrt()), 5),
        "depth_floor": round(float((depth - depth.mean(0)).square().mean((1, 2, 3)).mean().sqrt()), 5),
        "seg_accuracy": round(float((classes(found["seg"]) == classes(seg)).float().mean()), 5),
    }


if __name__ == "__main__":
    run(main)

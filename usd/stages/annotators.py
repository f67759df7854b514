"""Stage `annotators`: train the small depth and segmentation network on the ground truth."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from usd import config
from usd.annotators.small import PerceptionNet
from usd.data.loader import Batch, training_loader
from usd.data.shards import Shards
from usd.data.stream import TrainingStream
from usd.determinism import accelerator_for
from usd.files import atomic_directory, atomic_write
from usd.stages import RunDir, run
from usd.tasks import TASKS
from usd.training.annotators import HEADS, classes, measure
from usd.training.checkpoint import forget
from usd.training.loop import Plan, Terms, fit, write_curve


def main(shards: str, out: Path, metrics: Path, run_dir: RunDir) -> None:
    """Train on SHARDS, write the network to OUT and its validation error to METRICS; RUN_DIR resumes a killed run."""
    everything, opened = config.load(), Shards.open(shards)
    params, accelerator = everything.annotators, accelerator_for(everything.train.device, "no")
    torch.manual_seed(params.seed)  # initial weights
    net = PerceptionNet(params.channels).to(accelerator.device)

    def loss(model: nn.Module, batch: Batch) -> Terms:
        truth, task = torch.cat([batch.target, batch.example_target]), batch.task.repeat(2)
        depth, logits = model(torch.cat([batch.query, batch.example_source]))
        of_depth, of_seg = (task == HEADS.index(TASKS[name]) for name in ("image2depth", "image2seg"))
        return {
            "depth": 10 * (depth - truth[:, :1])[of_depth].square().mean(),
            "segmentation": F.cross_entropy(logits[of_seg], classes(truth[of_seg])),
        }

    def batches(start: int) -> Iterator[Batch]:
        stream = TrainingStream(opened["train"], params.seed, params.batch_size // 2, 0.5, start, tasks=HEADS)
        return training_loader(stream, 1, accelerator.device)

    identity = {"annotators": vars(params), "data": opened.digest}
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
    atomic_write(metrics, json.dumps(measure(out, opened["val"]), indent=1) + "\n")


if __name__ == "__main__":
    run(main)

"""Stage `annotators`: train the small depth and segmentation network on the ground truth."""

import json
from pathlib import Path

from accelerate import PartialState
from safetensors.torch import save_file

from usd import config
from usd.data.shards import Shards
from usd.files import atomic_directory, atomic_write, check_replaceable, check_writable
from usd.stages import RunDir, run
from usd.training.annotators import measure, train_annotators
from usd.training.checkpoint import forget
from usd.training.loop import write_curve

MARK = "config.json"


def main(shards: str, out: Path, metrics: Path, run_dir: RunDir) -> None:
    """Train on SHARDS, write the network to OUT and its validation error to METRICS; RUN_DIR resumes a killed run."""
    params, opened = config.load().annotators, Shards.open(shards)
    check_writable(out, metrics)
    check_replaceable(out, MARK)
    net, curve = train_annotators(opened, params, run_dir)
    if not PartialState().is_main_process:
        return
    with atomic_directory(out, MARK) as scratch:
        weights = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
        save_file(weights, scratch / "model.safetensors")
        (scratch / MARK).write_text(json.dumps(net.config) + "\n")
        write_curve(curve, scratch / "curve.csv")
    atomic_write(metrics, json.dumps(measure(out, opened["val"]), indent=1) + "\n")
    forget(run_dir)


if __name__ == "__main__":
    run(main)

"""Milliseconds a training step takes in the stage's own loop, and as one CUDA graph.

python -m benchmarks.steps

Both sides train each variant as section `reference` says, in turn: for a few steps and for many, so that the start and
the capture of the graph fall out of the difference. It is of use on a GPU.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer

from benchmarks import captured
from usd import config
from usd.config.training import VARIANTS
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.model.base import load_base
from usd.training.finetune import finetune


def loop(
    name: str, variant: config.Variant, own: config.Train, shards: Shards, annotators: Path, run_dir: Path
) -> None:
    """Train as stages do."""
    accelerator = accelerator_for(own.device, own.precision)
    finetune(load_base(own.base), annotators, shards, own, variant, run_dir, accelerator, title=name)


SIDES = {"loop": loop, "graph": captured.train}


def main(
    shards: str = "data/shards",
    annotators: Path = Path("models/annotators"),
    few: Annotated[int, typer.Option(help="steps of the short training")] = 20,
    many: Annotated[int, typer.Option(help="steps of the long one")] = 80,
) -> None:
    """Print the table."""
    params, opened = config.load(), Shards.open(shards)
    own = replace(params.train, **asdict(params.reference), checkpoint_every=many, preview_every=0)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, PyTorch {torch.__version__}\n")
    print(f"| variant | {' | '.join(SIDES)} | times as fast |\n|---|---|---|---|")
    for variant in VARIANTS:
        each = []
        for train in SIDES.values():
            seconds = []
            for steps in (few, many):
                with TemporaryDirectory() as folder:
                    began = time.perf_counter()
                    train(variant, params.variant(variant), replace(own, steps=steps), opened, annotators, Path(folder))
                    seconds.append(time.perf_counter() - began)
            each.append(1000 * (seconds[1] - seconds[0]) / (many - few))
        print(f"| {variant} | {each[0]:.0f} ms | {each[1]:.0f} ms | {each[0] / each[1]:.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)

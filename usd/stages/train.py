"""Stage `train`: train one variant of the control branch, and what `train.unlock` says of the base."""

from pathlib import Path
from typing import Annotated

import typer

from usd.stages import RunDir, run
from usd.training.variant import train_variant


def main(
    variant: str,
    shards: str,
    annotators: Path,
    out: Path,
    curve: Path,
    run_dir: RunDir,
    steps: Annotated[int | None, typer.Option(help="In the place of train.steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="In the place of train.seed.")] = None,
) -> None:
    """Train VARIANT on SHARDS; writes the model to OUT and the curve to CURVE.

    RUN_DIR keeps checkpoints and previews: killed at any moment, the same command goes on from the last checkpoint
    and ends with the same weights.
    """
    train_variant(variant, shards, annotators, out, curve, run_dir, steps, seed)


if __name__ == "__main__":
    run(main)

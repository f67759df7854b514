"""Stage `train`: train one variant of the control branch, and what `train.unlock` says of the base."""

from pathlib import Path

from usd import config
from usd.data.shards import Shards
from usd.stages import RunDir, run
from usd.training.variant import Run


def main(variant: str, shards: str, annotators: Path, out: Path, curve: Path, run_dir: RunDir) -> None:
    """Train VARIANT on SHARDS; writes the model to OUT and the curve to CURVE.

    RUN_DIR keeps checkpoints and previews: killed at any moment, the same command goes on from the last checkpoint
    and ends with the same weights.
    """
    params = config.load()
    settings = params.variant(variant)
    Run(variant, "train", settings, params.train, Shards.open(shards), annotators, run_dir).train(out, curve)


if __name__ == "__main__":
    run(main)

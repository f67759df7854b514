"""Stage `evaluate`: one variant's metrics on the fixed test manifest, with every choice made on validation."""

from pathlib import Path

from usd import config
from usd.data.shards import Shards
from usd.evaluation.variant import evaluate_model
from usd.stages import run


def main(variant: str, shards: str, judges: Path, model: Path, out: Path) -> None:
    """Evaluate MODEL, trained as VARIANT, on SHARDS; JUDGES read the maps of generated images. Writes into OUT."""
    params = config.load()
    evaluate_model(model, params.variant(variant).timesteps, params, Shards.open(shards), judges, out)


if __name__ == "__main__":
    run(main)

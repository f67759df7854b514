"""Stage `evaluate`: one variant's metrics on the fixed test manifest, with every choice made on validation."""

from pathlib import Path

from usd import config
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.evaluation.evaluator import Evaluator, Measure
from usd.evaluation.files import write_evaluation
from usd.evaluation.manifest import Samples
from usd.evaluation.variant import evaluate_variant
from usd.files import atomic_directory
from usd.stages import run


def main(variant: str, shards: str, judges: Path, model: Path, out: Path) -> None:
    """Evaluate MODEL, trained as VARIANT, on SHARDS; JUDGES read the maps of generated images. Writes into OUT."""
    everything = config.load()
    settings = everything.variant(variant)
    opened = Shards.open(shards)
    device = accelerator_for(everything.train.device, "no").device
    measure = Measure.of(opened, judges)
    evaluator = Evaluator.of_model(model, device, settings.timesteps, everything.evaluate, measure)
    with atomic_directory(out) as scratch:
        found = evaluate_variant(evaluator, Samples(opened["val"]), Samples(opened["test"]), scratch)
        write_evaluation(found, scratch)


if __name__ == "__main__":
    run(main)

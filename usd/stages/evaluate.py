"""Stage `evaluate`: one variant's metrics on the fixed test manifest, a per-sample table and picture grids."""

import json
from pathlib import Path

import pandas as pd

from usd import config
from usd.annotators.loading import load_annotators
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.evaluation.evaluator import Evaluator, evaluate, mean_maps, rounded
from usd.evaluation.manifest import Samples
from usd.files import atomic_directory
from usd.inference.pipeline import USDiffusionPipeline
from usd.stages import run
from usd.tasks import DIRECTIONS


def main(variant: str, shards: str, annotators: Path, model: Path, out: Path) -> None:
    """Evaluate MODEL, trained as VARIANT, on SHARDS; writes metrics.json, samples.csv and grids into OUT."""
    everything = config.load()
    params, settings = everything.evaluate, everything.variant(variant)
    opened = Shards.open(shards)
    accelerator = accelerator_for(everything.train.device, "no")
    pipeline = USDiffusionPipeline.from_pretrained(model).to(accelerator.device)
    evaluator = Evaluator(pipeline, load_annotators(annotators), params, settings.timesteps, mean_maps(opened))
    validation, test = Samples(opened["val"]), Samples(opened["test"])
    counts = params.ess_steps if settings.timesteps == "ess" else [params.baseline_steps]
    choices = {direction: evaluator.choose(validation, direction, counts) for direction in DIRECTIONS}
    with atomic_directory(out) as scratch:
        metrics, rows = evaluate(evaluator, test, choices, scratch)
        (scratch / "metrics.json").write_text(json.dumps(rounded(metrics), indent=1) + "\n")
        pd.DataFrame(rows).to_csv(scratch / "samples.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    run(main)

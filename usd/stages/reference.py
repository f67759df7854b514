"""Stage `reference`: the model that comes with the project. Frozen in dvc.yaml, its result in git.

It is US-Diffusion, trained for `reference.steps`, stored in half precision, evaluated as it is stored, and sampled
by default as validation chose. A fresh clone generates with it without any training.
"""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

from usd import config
from usd.config.training import OURS
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.evaluation.manifest import check_counts
from usd.evaluation.sampling import chosen_sampling
from usd.evaluation.variant import evaluate_model
from usd.files import atomic_directory, check_replaceable, path_digest
from usd.model.base import load_schedule
from usd.model.directory import halve, set_sampling
from usd.reporting.tables import model_scores
from usd.stages import RunDir, run
from usd.training.checkpoint import is_done, mark_done
from usd.training.finetune import inputs_of
from usd.training.variant import MARK, Run, check_estimates

NAME = "reference"


def main(shards: str, annotators: Path, judges: Path, out: Path, results: Path, curve: Path, run_dir: RunDir) -> None:
    """Train on SHARDS with ANNOTATORS; writes the model to OUT, its evaluation to RESULTS and the curve to CURVE.

    JUDGES read the maps of generated images. RUN_DIR keeps an interrupted run.
    """
    check_replaceable(out, MARK)
    check_replaceable(results, "metrics.json")
    params, opened, trained = config.load(), Shards.open(shards), run_dir / "model"
    check_counts(params.evaluate, opened)
    settings = params.variant(OURS)
    own = replace(params.train, **asdict(params.reference))
    check_estimates(OURS, settings, load_schedule(Path(own.base) / "scheduler"))
    identity = inputs_of(own, settings, opened, annotators) | {"base": path_digest(Path(own.base))}
    accelerator = accelerator_for(own.device, own.precision)
    if not is_done(run_dir, identity):
        Run(NAME, NAME, settings, own, opened, annotators, run_dir / "training").train(trained, curve)
        if accelerator.is_main_process:
            halve(trained)
            mark_done(run_dir, identity)
    if not accelerator.is_main_process:
        return
    found = evaluate_model(trained, settings.timesteps, params, opened, judges, results)
    with atomic_directory(out, MARK) as scratch:
        shutil.copytree(trained, scratch, dirs_exist_ok=True)
        set_sampling(scratch, chosen_sampling(found.metrics["sampling"], settings.timesteps))
        with (scratch / "README.md").open("a") as card:
            card.write(f"\n## Scores\n\n{model_scores(found.metrics, params.evaluate.items)}\n")


if __name__ == "__main__":
    run(main)

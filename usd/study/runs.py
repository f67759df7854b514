"""The runs of the study: every variant trained and evaluated with every seed; finished runs are not repeated."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from usd import config
from usd.data.shards import Shards
from usd.determinism import device_for
from usd.evaluation.evaluator import Evaluator, Measure
from usd.evaluation.files import Results, read_results, write_evaluation
from usd.evaluation.manifest import Samples, check_counts
from usd.evaluation.variant import evaluate_variant
from usd.evaluation.yardsticks import base_alone, score_yardsticks
from usd.files import atomic_directory, path_digest, read_json
from usd.model.base import load_schedule
from usd.study.regression import train_regression
from usd.tasks import TRAINED
from usd.training.checkpoint import forget, identity_of, is_done, mark_done
from usd.training.variant import Run, check_estimates

REGRESSION = "regression network"


class StudyRuns:
    """What all runs share, and where each is kept."""

    def __init__(self, shards: str, annotators: Path, judges: Path, control: Path, run_dir: Path) -> None:
        everything = config.load()
        self.params, self.train, self.variants = everything.study, everything.train, everything.variants
        self.evaluate = replace(
            everything.evaluate,
            step_counts=self.params.step_counts,
            items=self.params.items,
            curve_items=self.params.curve_items,
        )
        schedule = load_schedule(Path(self.train.base) / "scheduler")
        for name in self.params.variants:
            check_estimates(name, everything.variant(name), schedule)  # what cannot be trained is named before any work
        self.shards, self.annotators, self.control, self.run_dir = Shards.open(shards), annotators, control, run_dir
        check_counts(self.evaluate, self.shards)
        self.device = device_for(self.train.device)
        self.validation, self.test = Samples(self.shards["val"]), Samples(self.shards["test"])
        self.measure = Measure.of(self.shards, judges)
        self.identity = identity_of(self.train, __name__, self.shards.digest) | {
            "steps": self.params.steps,
            "evaluate": asdict(self.evaluate),
            "annotators": path_digest(annotators),
            "judges": path_digest(judges),
            "base": path_digest(Path(self.train.base)),
            "control": path_digest(control),
        }

    def run(self, variant: str, seed: int) -> Results:
        """Results of one variant and seed."""
        folder = self.run_dir / f"{variant}-{seed}"
        identity = self.identity | {"variant": asdict(self.variants[variant]), "seed": seed}
        model, settings = folder / "model", self.variants[variant]
        if not is_done(folder, identity):
            if not is_done(model, identity):
                params = replace(self.train, steps=self.params.steps, seed=seed)
                run = Run(variant, "study", settings, params, self.shards, self.annotators, folder / "run")
                run.train(model, folder / "curve.csv")
                mark_done(model, identity)
            steps = self.train.ess_steps
            evaluator = Evaluator.of_model(model, self.device, settings.timesteps, steps, self.evaluate, self.measure)
            with atomic_directory(folder / "results") as scratch:
                write_evaluation(evaluate_variant(evaluator, self.validation, self.test), scratch)
            mark_done(folder, identity)
        return read_results(folder / "results")

    def yardsticks(self) -> list[dict[str, Any]]:
        """Rows of the answers that need no training of a variant, and of the regression network."""
        folder = self.run_dir / "yardsticks"
        if not is_done(folder, self.identity):
            strategy = self.variants["control"].timesteps
            found = score_yardsticks(
                self.shards, self.train.base, self.control, strategy, self.train, self.evaluate, self.measure
            )
            params = replace(self.train, steps=self.params.steps)
            trained = train_regression(self.shards, params, folder / "run")
            for task in TRAINED:
                items = self.test.manifest(task, self.evaluate.items, self.evaluate.seed)
                answers = base_alone(trained, self.test, items, self.evaluate.batch_size)
                found.add(REGRESSION, task, self.measure(self.test, items, answers))
            with atomic_directory(folder / "results") as scratch:
                found.write(scratch)
            forget(folder / "run")
            mark_done(folder, self.identity)
        rows: list[dict[str, Any]] = read_json(folder / "results" / "yardsticks.json")
        return rows

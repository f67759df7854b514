"""Stage `ablation`: SGA, FAL and ESS removed one at a time, over several seeds. Frozen in dvc.yaml, its result in git.

Every variant, the baseline included, samples with its own strategy and chooses guidance and step count, among the
same candidates, on the validation split.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import usd
from usd import config
from usd.data.annotators import load_annotators
from usd.data.record import atomic_directory, atomic_write, folder_digest
from usd.data.shards import check_shards
from usd.determinism import accelerator_for
from usd.evaluation import Samples
from usd.pipeline import USDiffusionPipeline
from usd.stages import RunDir, evaluate, run, train
from usd.tasks import DIRECTIONS, TRAINED
from usd.verdict import mean

COLUMNS = {
    "RMSE, Image2Map": ("image2map", "rmse"),
    "Fréchet distance, Map2Image": ("map2image", "fd"),
    "adherence RMSE, Map2Image": ("map2image", "adherence_rmse"),
}
Scores = dict[str, dict[str, dict[str, float]]]  # direction → map → metric, as in metrics.json


def main(shards: str, annotators: Path, out: Path, run_dir: RunDir) -> None:
    """Train and evaluate every variant of `ablation` with every seed; writes runs.json and table.md into OUT.

    RUN_DIR keeps finished runs and the checkpoint of the current one: run it again to go on.
    """
    experiment = Experiment(shards, annotators, run_dir)
    params = experiment.params.ablation
    runs: dict[str, list[Scores]] = {}
    for seed in params.seeds:
        for variant in params.variants:
            runs.setdefault(variant, []).append(experiment.run(variant, seed))
    with atomic_directory(out) as scratch:
        (scratch / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
        (scratch / "table.md").write_text(table(runs, params))


class Experiment:
    """What all runs share."""

    def __init__(self, shards: str, annotators: Path, run_dir: Path) -> None:
        self.shards, self.annotators, self.run_dir = shards, annotators, run_dir
        self.params = config.load()
        self.validation, self.test = Samples(shards, "val"), Samples(shards, "test")
        self.means = evaluate.mean_maps(shards)
        self.identity = {
            "train": asdict(self.params.train),
            "variants": {name: asdict(self.params.variant(name)) for name in self.params.ablation.variants},
            "steps": self.params.ablation.steps,
            "evaluate": asdict(self.params.evaluate),
            "data": check_shards(shards),
            "annotators": folder_digest(annotators),
            "base": folder_digest(Path(self.params.train.base)),
            "code": folder_digest(Path(usd.__file__).parent, "*.py"),
        }

    def run(self, variant: str, seed: int) -> Scores:
        """Scores of one variant and seed; a finished run of the same parameters, data and code is not repeated."""
        folder = self.run_dir / f"{variant}-{seed}"
        done = folder / "scores.json"
        if done.exists() and (found := json.loads(done.read_text()))["identity"] == self.identity:
            return found["scores"]
        model, steps = folder / "model", self.params.ablation.steps
        train.main(
            variant, self.shards, self.annotators, model, folder / "curve.csv", folder / "run", steps=steps, seed=seed
        )
        scores = self.score(variant, model)
        atomic_write(done, json.dumps({"identity": self.identity, "scores": scores}) + "\n")
        return scores

    def score(self, variant: str, model: Path) -> Scores:
        """The metrics of the trained tasks for one trained model, on the test split."""
        params, train_params = self.params.evaluate, self.params.train
        device = accelerator_for(train_params.device, train_params.precision).device
        evaluator = evaluate.Evaluator(
            pipeline=USDiffusionPipeline.from_pretrained(model).to(device),
            annotators=load_annotators(self.annotators),
            params=params,
            strategy=self.params.variant(variant).timesteps,
            means=self.means,
        )
        choices = {
            direction: evaluator.choose(self.validation, direction, params.ess_steps) for direction in DIRECTIONS
        }
        found: Scores = {direction: {} for direction in DIRECTIONS}
        for task in TRAINED:
            choice = choices[task.direction]
            sampling = evaluator.sampling(choice["steps"], choice["guidance_scale"])
            found[task.direction][task.map.name], _, _ = evaluator.score(self.test, task, params.items, sampling)
        return evaluate.rounded(found)


def table(runs: dict[str, list[Scores]], params: config.Ablation) -> str:
    """Mean over the trained tasks, and half its range over the seeds; a row a variant."""

    def cell(values: list[float]) -> str:
        return f"{np.mean(values):.4f} ± {np.ptp(values) / 2:.4f}"

    lines: list[list[Any]] = [["variant", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    for name, scores in runs.items():
        lines.append([name, *(cell([mean(each, *column) for each in scores]) for column in COLUMNS.values())])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{text}\n\nMean ± half the range over the seeds {params.seeds}, {params.steps} training steps each.\n"


if __name__ == "__main__":
    run(main)

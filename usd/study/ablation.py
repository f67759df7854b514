"""The ablation: every variant trained and evaluated with every seed; finished runs are not repeated."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from usd import config
from usd.annotators.loading import load_annotators
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.evaluation.evaluator import Evaluator, mean_maps, rounded
from usd.evaluation.gate import mean
from usd.evaluation.manifest import Samples
from usd.files import atomic_write, folder_digest
from usd.inference.pipeline import USDiffusionPipeline
from usd.provenance import code_digest
from usd.tasks import DIRECTIONS, TRAINED
from usd.training.variant import Run

COLUMNS = {
    "RMSE, Image2Map": ("image2map", "rmse"),
    "Fréchet distance, Map2Image": ("map2image", "fd"),
    "adherence RMSE, Map2Image": ("map2image", "adherence_rmse"),
}


Scores = dict[str, dict[str, dict[str, float]]]  # direction → map → metric, as in metrics.json


class Experiment:
    """What all runs share."""

    def __init__(self, shards: str, annotators: Path, run_dir: Path) -> None:
        self.shards, self.annotators, self.run_dir = Shards.open(shards), annotators, run_dir
        self.params = config.load()
        self.validation, self.test = Samples(self.shards["val"]), Samples(self.shards["test"])
        self.means = mean_maps(self.shards)
        self.identity = {
            "train": asdict(self.params.train),
            "variants": {name: asdict(self.params.variant(name)) for name in self.params.ablation.variants},
            "steps": self.params.ablation.steps,
            "evaluate": asdict(self.params.evaluate),
            "data": self.shards.digest,
            "annotators": folder_digest(annotators),
            "base": folder_digest(Path(self.params.train.base)),
            "code": code_digest("ablation"),
        }

    def run(self, variant: str, seed: int) -> Scores:
        """Scores of one variant and seed; a finished run of the same parameters, data and code is not repeated."""
        folder = self.run_dir / f"{variant}-{seed}"
        done = folder / "scores.json"
        if done.exists() and (found := json.loads(done.read_text()))["identity"] == self.identity:
            scores: Scores = found["scores"]
            return scores
        model = folder / "model"
        params = replace(self.params.train, steps=self.params.ablation.steps, seed=seed)
        run = Run(variant, self.params.variant(variant), params, self.shards, self.annotators, folder / "run")
        run.train(model, folder / "curve.csv")
        scores = self.score(variant, model)
        atomic_write(done, json.dumps({"identity": self.identity, "scores": scores}) + "\n")
        return scores

    def score(self, variant: str, model: Path) -> Scores:
        """The metrics of the trained tasks for one trained model, on the test split."""
        params, train_params = self.params.evaluate, self.params.train
        device = accelerator_for(train_params.device, train_params.precision).device
        evaluator = Evaluator(
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
        scores: Scores = rounded(found)
        return scores


def table(runs: dict[str, list[Scores]], params: config.Ablation) -> str:
    """Mean over the trained tasks, and half its range over the seeds; a row a variant."""

    def cell(values: list[float]) -> str:
        return f"{np.mean(values):.4f} ± {np.ptp(values) / 2:.4f}"

    lines: list[list[Any]] = [["variant", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    for name, scores in runs.items():
        lines.append([name, *(cell([mean(each, *column) for each in scores]) for column in COLUMNS.values())])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{text}\n\nMean ± half the range over the seeds {params.seeds}, {params.steps} training steps each.\n"

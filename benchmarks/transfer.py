"""The models on pictures of other origin: scenes of another renderer (depth and edges), and photographs (edges).

python -m benchmarks.transfer PHOTOGRAPHS OUT

Needs the extra `transfer`, and the models that `dvc repro` makes. Writes into OUT a table and the pictures.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import PIL.Image
import torch
import typer
from torch import Tensor

from benchmarks.dataset import write_test_samples
from benchmarks.other_scenes import render_scenes
from usd import config
from usd.annotators.completion import Completion, complete
from usd.config.training import BASELINE, OURS
from usd.data.record import Manifest, write_manifest
from usd.data.shards import Shards
from usd.evaluation.bootstrap import interval
from usd.evaluation.evaluator import Evaluator, Measure, Scored
from usd.evaluation.manifest import Item, Samples
from usd.evaluation.names import BASE_ALONE, CONTROL_ALONE, MEAN_MAP
from usd.evaluation.pictures import draw_grid
from usd.evaluation.sampling import Candidate, Shown
from usd.evaluation.yardsticks import base_alone
from usd.files import read_json, sha256
from usd.model.base import load_base
from usd.stages import shard
from usd.tasks import TASKS, Task

SCENES = 96
SHORT_SIDE = 3  # crops along a photograph's shorter side
REFERENCE = "reference"
LOOKED_AT = {"scenes": ("image2depth", "image2hed"), "photographs": ("image2hed",)}
CPU = torch.device("cpu")

Answer = Callable[[Samples, Task], Tensor]  # the answers to a task's items, (N, 3, H, W)


def crops(photographs: Path, size: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The photographs' crops, side by side, each with its photograph's name."""
    for path in sorted(photographs.iterdir()):
        picture = PIL.Image.open(path).convert("RGB")
        scale = SHORT_SIDE * size / min(picture.size)
        pixels = np.array(picture.resize([round(side * scale) for side in picture.size], PIL.Image.Resampling.BOX))
        for y, x in np.ndindex(pixels.shape[0] // size, pixels.shape[1] // size):
            yield path.stem, {"image": pixels[y * size : (y + 1) * size, x * size : (x + 1) * size]}


def packed(pictures: Path, networks: Path) -> Samples:
    """The test samples of a folder dataset, completed with their maps; `networks` make those that it does not bring."""
    maps, checks, out = (pictures.with_name(f"{pictures.name}_{part}") for part in ("maps", "checks", "shards"))
    for folder in (maps / "test", checks):
        folder.mkdir(parents=True)
    (checks / "summary.json").write_text('{"success": true}')
    params = replace(config.load().annotate, networks=str(networks))
    rows = Manifest(pictures).rows()
    write_manifest((complete(Completion(row, params, pictures, maps)) for row in rows), maps)
    shard.main(pictures, maps, checks, out)
    return Samples(Shards.open(str(out))["test"])


def answers(params: config.Params, shards: Shards) -> dict[str, Answer]:
    """The models, each sampled as validation chose on the project's own pictures."""
    base = load_base(params.train.base).freeze()

    def by_base(samples: Samples, task: Task) -> Tensor:
        return base_alone(base, samples, all_items(samples, task, params.evaluate), params.evaluate.batch_size)

    measure = Measure.of(shards, Path(params.paths.judges))
    control = Evaluator.of_model(
        Path(params.train.warm_start), CPU, "ess", params.train.ess_steps, params.evaluate, measure
    )
    found = {BASE_ALONE: by_base, CONTROL_ALONE: _by(control, control.choose(Samples(shards["val"]), "image2map").best)}
    for name, variant in ((BASELINE, BASELINE), (OURS, OURS), (REFERENCE, OURS)):
        chosen = read_json(Path("results", name, "metrics.json"))["sampling"]["image2map"]
        strategy, candidate = params.variant(variant).timesteps, Candidate.of(chosen)
        evaluator = Evaluator.of_model(
            Path("models", name), CPU, strategy, params.train.ess_steps, params.evaluate, measure
        )
        found[name] = _by(evaluator, candidate)
        if evaluator.pipeline.adapter.indicator is not None:
            found[f"{name}, told the task"] = _by(evaluator, candidate, told=True)
    return found


def _by(evaluator: Evaluator, candidate: Candidate, told: bool = False) -> Answer:
    def answer(samples: Samples, task: Task) -> Tensor:
        shown = Shown(indicator=task.name) if told else None
        return evaluator.score(samples, task, len(samples.keys), candidate, shown, distances=False).images

    return answer


def all_items(samples: Samples, task: Task, params: config.Evaluate) -> list[Item]:
    """Each sample as a query."""
    return samples.manifest(task, len(samples.keys), params.seed)


def scored(samples: Samples, task: Task, models: dict[str, Answer], params: config.Evaluate) -> dict[str, Scored]:
    """The scores of all models on all samples, and of the mean map of these very samples, which is the floor."""
    truth = samples.pictures(samples.keys, task.target)
    mean = truth.mean(0)
    found = {MEAN_MAP: mean.expand_as(truth)} | {name: answer(samples, task) for name, answer in models.items()}
    measure, items = Measure({task.map.name: mean}, {}), all_items(samples, task, params)
    return {name: measure(samples, items, images) for name, images in found.items()}


def rows(origin: str, task: Task, found: dict[str, Scored], params: config.Evaluate) -> list[dict[str, object]]:
    """A line a model; its differences in RMSE from baseline and mean map have 95 % intervals over the items."""
    replicates = {name: each.replicates(params)["rmse"] for name, each in found.items()}
    lines: list[dict[str, object]] = []
    for name, each in found.items():
        line: dict[str, object] = {"pictures": origin, "task": task.name, "items": len(each.images), "model": name}
        line |= {metric: round(each.scores[metric], 5) for metric in ("rmse", "floor_ratio")}
        for other, column in ((BASELINE, "baseline"), (MEAN_MAP, "mean_map")):
            delta = each.scores["rmse"] - found[other].scores["rmse"]
            apart = interval(delta, replicates[name] - replicates[other])
            line |= {f"from_{column}": apart.delta, f"{column}_low": apart.low, f"{column}_high": apart.high}
        lines.append(line)
    return lines


def unet_digest(model: str, models: Path = Path("models")) -> str:
    """Digest of a model's U-Net, which says what was measured; none of the mean map."""
    folder = {BASE_ALONE: "base", CONTROL_ALONE: "control"}.get(model, model.partition(",")[0])
    path = models / folder / "unet/diffusion_pytorch_model.safetensors"
    return sha256(path.read_bytes())[:12] if path.exists() else ""


def main(
    photographs: Annotated[Path, typer.Argument(help="A folder of photographs.")],
    out: Annotated[Path, typer.Argument(help="Where transfer.csv and the pictures go.")],
) -> None:
    """Score base, control branch, both variants and the model that comes with the project."""
    params = config.load()
    shards, size = Shards.open(params.paths.shards), params.render.image_size
    out.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, object]] = []
    models = answers(params, shards)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {origin: Path(scratch, origin) for origin in LOOKED_AT}
        render_scenes(folders["scenes"], SCENES, size)
        write_test_samples(crops(photographs, size), folders["photographs"])
        for origin, folder in folders.items():
            samples = packed(folder, Path(params.paths.annotators))
            for task in (TASKS[name] for name in LOOKED_AT[origin]):
                found = scored(samples, task, models, params.evaluate)
                lines += rows(origin, task, found, params.evaluate)
                grid = {name: found[name].images[: params.evaluate.grid_items] for name in (BASELINE, OURS, REFERENCE)}
                draw_grid(samples, task, params.evaluate, grid, out / f"{origin}_{task.name}.png")
    lines = [line | {"weights": unet_digest(str(line["model"]))} for line in lines]
    text = pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")
    (out / "transfer.csv").write_text(text)
    print(text)


if __name__ == "__main__":
    typer.run(main)

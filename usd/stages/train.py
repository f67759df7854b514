"""Stage `train`: train one variant of the control branch, and what `train.unlock` says of the base."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Annotated

import typer
from accelerate import PartialState

from usd import config
from usd.checkpoint import CHECKPOINT, forget
from usd.data.annotators import load_annotators, to_array
from usd.data.record import atomic_directory, folder_digest
from usd.data.shards import check_shards
from usd.diffusion.timesteps import sampling_timesteps
from usd.evaluation import Samples, Sampling, generate
from usd.finetuning import finetune
from usd.grids import write_grid
from usd.metrics import rmse
from usd.model.base import load_base, scale_factor
from usd.model.control import Denoiser
from usd.pipeline import USDiffusionPipeline
from usd.stages import RunDir, run
from usd.tasks import TRAINED
from usd.track import Tracker
from usd.training import write_curve

CARD = """---
library_name: diffusers
license: mit
---
# {variant}

A control branch and adapter on the base `{base}`, trained by stage `train`. The directory is complete:
`USDiffusionPipeline.from_pretrained` needs nothing else.

| what | value |
|---|---|
| adapter | {adapter} |
| training timesteps | {timesteps} |
| feedback weight (FAL) | {feedback} |
| trained tasks | {tasks} |
| trained beside the control branch | {unlock} of the base's U-Net |
| steps × micro-batches × items | {steps} × {accumulation} × {items} |
| learning rate | {learning_rate} |
| seed | {seed} |
| data (digest of the shards) | `{data}` |
"""
PREVIEW = Sampling(sampling_timesteps("ess", 4), guidance_scale=1.0)


def revision() -> str:
    """The git revision that groups the W&B runs."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "no-git"


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
    everything = config.load()
    params, settings = everything.train, everything.variant(variant)
    params = dataclasses.replace(
        params, steps=params.steps if steps is None else steps, seed=params.seed if seed is None else seed
    )
    base = load_base(params.base)
    data = check_shards(shards)
    begun = (run_dir / CHECKPOINT).exists()
    tracker = Tracker(variant, dataclasses.asdict(params) | {"data": data}, run_dir, revision(), resume=begun)
    validation = Samples(shards, "val")

    def preview(denoiser: Denoiser, step: int) -> None:
        pipeline = USDiffusionPipeline(base, denoiser)
        path = run_dir / f"preview-{step:06d}.png"
        tracker.log(step, write_preview(pipeline, validation, path))
        tracker.log_image("preview", path, step)

    denoiser, rows = finetune(
        base,
        load_annotators(annotators),
        shards,
        params,
        settings,
        run_dir,
        {"annotators": folder_digest(annotators)},
        tracker.log,
        preview,
        title=variant,
    )
    if not PartialState().is_main_process:
        return
    write_curve(rows, curve)
    side = validation.pictures(validation.keys[:1], "image").shape[-1]
    base.unet.register_to_config(sample_size=side // scale_factor(base.vae))  # a pretrained base may know another
    with atomic_directory(out) as scratch:
        USDiffusionPipeline(base, denoiser).save_pretrained(scratch)
        facts = dataclasses.asdict(params) | dataclasses.asdict(settings) | {"variant": variant}
        facts["items"] = params.batch_size * len(TRAINED)
        tasks = ", ".join(task.name for task in TRAINED)
        (scratch / "README.md").write_text(CARD.format(**facts, tasks=tasks, data=data))
    tracker.log_model(out, {"data": data})
    tracker.finish()
    forget(run_dir)


def write_preview(pipeline: USDiffusionPipeline, samples: Samples, path: Path) -> dict[str, float]:
    """A small grid, up to four items of every trained task: query, truth and output; returns their RMSE by task."""
    rows, errors = [], {}
    for task in TRAINED:
        items = samples.manifest(task, min(4, len(samples.keys)), seed=0)
        found, _ = generate(pipeline, samples, items, PREVIEW, batch_size=4, title="preview")
        keys = [item.query for item in items]
        truth = samples.pictures(keys, task.target)
        errors[f"validation rmse/{task.name}"] = rmse(found, truth)
        columns = (samples.pictures(keys, task.source), truth, found)
        rows.append([tile for trio in zip(*map(to_array, columns), strict=True) for tile in trio])
    write_grid(rows, ["query", "truth", "output"] * len(items), path)
    return errors


if __name__ == "__main__":
    run(main)

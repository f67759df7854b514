"""One variant trained from shards to a model directory, with previews and a W&B run."""

import dataclasses
import subprocess
from pathlib import Path

from accelerate import PartialState

from usd import config
from usd.annotators.loading import load_annotators
from usd.data.shards import Shards
from usd.diffusion.sampling import Sampling
from usd.diffusion.timesteps import sampling_timesteps
from usd.evaluation.grids import write_grid
from usd.evaluation.manifest import Samples
from usd.evaluation.metrics import rmse
from usd.evaluation.sampling import generate
from usd.files import atomic_directory, folder_digest
from usd.images import to_array
from usd.inference.pipeline import USDiffusionPipeline
from usd.model.base import load_base, scale_factor
from usd.model.control import Denoiser
from usd.model.directory import save_model
from usd.tasks import TRAINED
from usd.track import Tracker
from usd.training.checkpoint import CHECKPOINT, forget
from usd.training.control import finetune
from usd.training.loop import write_curve

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


def train_variant(
    variant: str,
    shards: str,
    annotators: Path,
    out: Path,
    curve: Path,
    run_dir: Path,
    steps: int | None = None,
    seed: int | None = None,
) -> None:
    """Train a variant on shards; writes the model to `out` and the curve to `curve`.

    `steps` and `seed` stand in for those of params.yaml.
    """
    everything = config.load()
    params, settings = everything.train, everything.variant(variant)
    params = dataclasses.replace(
        params, steps=params.steps if steps is None else steps, seed=params.seed if seed is None else seed
    )
    base = load_base(params.base)
    opened = Shards.open(shards)
    data = opened.digest
    begun = (run_dir / CHECKPOINT).exists()
    tracker = Tracker(variant, dataclasses.asdict(params) | {"data": data}, run_dir, revision(), resume=begun)
    validation = Samples(opened["val"])

    def preview(denoiser: Denoiser, step: int) -> None:
        pipeline = USDiffusionPipeline.of(base, denoiser)
        path = run_dir / f"preview-{step:06d}.png"
        tracker.log_preview(step, write_preview(pipeline, validation, path), path)

    denoiser, rows = finetune(
        base,
        load_annotators(annotators),
        opened,
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
        save_model(scratch, base, denoiser)
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

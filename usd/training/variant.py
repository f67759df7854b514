"""One variant trained from shards to a model directory, with previews and a W&B run."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler

from usd.config import Train, Variant
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.diffusion.sampling import usual_samplings
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.files import atomic_directory, check_replaceable, check_writable
from usd.model.base import Base, load_base, scale_factor
from usd.model.control import Denoiser
from usd.model.directory import save_model
from usd.track import Tracker
from usd.training.captions import long_captions
from usd.training.card import model_card
from usd.training.checkpoint import CHECKPOINT, forget
from usd.training.finetune import finetune
from usd.training.loop import write_curve
from usd.training.preview import Preview

MARK = "adapter/config.json"  # a base from elsewhere has none


@dataclass(frozen=True)
class Run:
    """One variant's training: what it is given, and where its results go."""

    name: str
    stage: str  # that trains it; its model card says so
    variant: Variant
    params: Train
    shards: Shards
    annotators: Path | None  # None: the variant has no feedback
    run_dir: Path  # keeps checkpoints and previews

    def train(self, out: Path, curve: Path) -> None:
        """Train, and write the model to `out` and the curve to `curve`. Run again after an interruption, it goes on."""
        check_writable(out, curve)
        check_replaceable(out, MARK)
        accelerator = accelerator_for(self.params.device, self.params.precision)
        base = load_base(self.params.base)
        check_estimates(self.name, self.variant, base.scheduler)
        if accelerator.is_main_process and (warning := long_captions(base, self.shards["train"])):
            print(f"warning: {warning}", file=sys.stderr)
        begun = (self.run_dir / CHECKPOINT).exists()
        settings = asdict(self.params) | {"data": self.shards.digest}
        tracker = Tracker(self.name, settings, self.run_dir, git_revision(), resume=begun)
        card = model_card(self.name, self.stage, self.variant, self.params, self.shards.digest, self.timesteps())
        draw = Preview(base, self.shards["val"], self.timesteps())

        def preview(denoiser: Denoiser, step: int) -> None:
            path = self.run_dir / f"preview-{step:06d}.png"
            tracker.log_preview(step, draw(denoiser, path), path)

        with tracker:
            denoiser, rows = finetune(
                base,
                self.annotators,
                self.shards,
                self.params,
                self.variant,
                self.run_dir,
                accelerator,
                log=tracker.log,
                preview=preview,
                title=self.name,
            )
        if accelerator.is_main_process:
            write_curve(rows, curve)
            save(base, denoiser, self.sampling(base), card, draw.size, out)
            tracker.log_model(out, {"data": self.shards.digest})
            tracker.finish()
            forget(self.run_dir)

    def sampling(self, base: Base) -> dict[str, Any]:
        """How the model is sampled by default: along the list that all variants were trained at."""
        kind, one_step_maps = base.scheduler.config.prediction_type, self.variant.timesteps == "ess"
        return usual_samplings(kind, self.params.ess_steps, one_step_maps)

    def timesteps(self) -> list[int]:
        """The descending list of its previews: for ESS exactly the trained one."""
        return sampling_timesteps(self.variant.timesteps, self.params.ess_steps)


def check_estimates(name: str, variant: Variant, scheduler: DDIMScheduler) -> None:
    """Check that a variant that learns from the model's own estimates has a base that predicts x_0.

    The ε that leads from an estimate's x_t to the true x_0 is divided by √(1 − ᾱ_t), and at low t swamps the loss.

    Raises:
        UsdError: the base predicts ε or v.
    """
    kind = scheduler.config.prediction_type
    if variant.self_estimates and kind != "sample":
        wanted = f"{variant.self_estimates:g} needs a base that predicts x_0, and train.base predicts {kind}"
        raise UsdError(f"variants.{name}.self_estimates: {wanted}; set it to 0, as profiles/sd15.yaml does")


def save(base: Base, denoiser: Denoiser, sampling: Mapping[str, Any], card: str, size: int, out: Path) -> None:
    """Write the model directory with its card; `size` is the side of the trained pictures in pixels."""
    base.unet.register_to_config(sample_size=size // scale_factor(base.vae))  # a pretrained base may know another
    with atomic_directory(out, MARK) as scratch:
        save_model(scratch, base, denoiser, sampling)
        (scratch / "README.md").write_text(card)


def git_revision() -> str:
    """The git revision that groups the W&B runs; `no-git` outside a repository, or where git is not installed."""
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return "no-git"
    return found.stdout.strip() or "no-git"

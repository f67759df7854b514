"""Weights & Biases: the only file that imports it. Offline without a key, and never the only store of a metric."""

import os
from pathlib import Path
from typing import Any


class Tracker:
    """One W&B run; resuming continues the same run."""

    def __init__(self, name: str, config: dict[str, Any], directory: Path, group: str) -> None:
        import wandb

        os.environ.setdefault("WANDB_SILENT", "true")
        directory.mkdir(parents=True, exist_ok=True)
        online = bool(os.environ.get("WANDB_API_KEY"))
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "us-diffusion"),
            name=name,
            group=group,
            id=f"{name}-{group}",
            resume="allow",
            config=config,
            dir=directory,
            mode=None if online else "offline",
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one step."""
        self.run.log(values, step=step)

    def log_image(self, name: str, path: Path, step: int) -> None:
        """A picture file."""
        import wandb

        self.run.log({name: wandb.Image(str(path))}, step=step)

    def finish(self) -> None:
        """Close the run."""
        self.run.finish()

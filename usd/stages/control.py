"""Stage `control`: train the generic control branch that all variants start from. Frozen in dvc.yaml.

It is a ControlNet, as people take one of Stable Diffusion: it reads the query, is told the task by the prompt, and is
shown no example pair. Its result is kept in git.
"""

from dataclasses import replace
from pathlib import Path

from usd import config
from usd.data.shards import Shards
from usd.stages import RunDir, run
from usd.training.variant import Run

NAME = "control"


def main(shards: str, out: Path, curve: Path, run_dir: RunDir) -> None:
    """Train the control branch on SHARDS; writes the model to OUT and the curve to CURVE.

    RUN_DIR keeps an interrupted run.
    """
    params = config.load()
    own = replace(params.train, seed=params.control.seed, steps=params.control.steps, warm_start=config.NO_START)
    Run(NAME, NAME, params.variant(NAME), own, Shards.open(shards), None, run_dir).train(out, curve)


if __name__ == "__main__":
    run(main)

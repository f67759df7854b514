"""Stage `base`: train the tiny base on the embedded data. Frozen in dvc.yaml; its result is kept in git."""

import time
from pathlib import Path

import torch
from accelerate import PartialState

from usd import config
from usd.data.shards import Shards
from usd.files import atomic_directory, check_replaceable, check_writable
from usd.model.base import save_base
from usd.model.untrained import new_base
from usd.stages import RunDir, run
from usd.tasks import TRAINED
from usd.training.base import pretrain
from usd.training.card import base_card
from usd.training.checkpoint import forget
from usd.training.loop import write_curve

PROMPTS = sorted({task.map.prompt for task in TRAINED})  # of the maps
MARK = "curve.csv"  # a base from elsewhere has none


def main(shards: str, out: Path, run_dir: RunDir) -> None:
    """Train a base on SHARDS and write it to OUT; RUN_DIR keeps an interrupted run."""
    params, opened = config.load().base, Shards.open(shards)
    check_writable(out)
    check_replaceable(out, MARK)
    train = opened["train"]
    size = train.pictures([train.rows.key(0)], "image").shape[1]
    torch.manual_seed(params.seed)  # initial weights
    base = new_base(params.patch_size, params.channels, params.text_width, [*train.captions(), *PROMPTS], size)
    began = time.time()
    curve = pretrain(base, opened, params, run_dir)
    if not PartialState().is_main_process:
        return
    print(f"base: trained in {(time.time() - began) / 60:.1f} min")
    parameters = sum(weight.numel() for weight in base.unet.parameters())
    with atomic_directory(out, MARK) as scratch:
        save_base(base, scratch)
        write_curve(curve, scratch / MARK)
        (scratch / "README.md").write_text(base_card(params, PROMPTS, len(train), size, parameters, opened.digest))
    forget(run_dir)


if __name__ == "__main__":
    run(main)

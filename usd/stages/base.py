"""Stage `base`: train the tiny base on the embedded data. Frozen in dvc.yaml; its result is kept in git."""

import time
from dataclasses import asdict
from pathlib import Path

import torch

from usd import config
from usd.data.shards import Shards
from usd.files import atomic_directory, check_writable
from usd.model.base import save_base
from usd.model.untrained import new_base
from usd.stages import RunDir, run
from usd.tasks import TRAINED
from usd.training.base import pretrain
from usd.training.checkpoint import forget
from usd.training.loop import write_curve

CARD = """---
library_name: diffusers
license: mit
---
# The bundled base

A tiny latent diffusion model in diffusers' layout, trained from scratch by stage `base` on the training split of
the embedded dataset ({samples} scenes of {size} pixels). It takes the place of Stable Diffusion 1.5 at full scale.

| what | value |
|---|---|
| U-Net parameters | {parameters:,} |
| prediction | x̂0 (`sample`) |
| prompts | captions for images, "{prompts}" for maps |
| steps × batch | {steps} × {batch_size} |
| share of translated items, where t ≥ {translation_from} | {translation} |
| seed | {seed} |
| data (digest of the shards) | `{data}` |

Reproduce: set `frozen: false` for the stage in dvc.yaml, and run `dvc repro base`.
"""
PROMPTS = sorted({task.map.prompt for task in TRAINED})  # of the maps


def main(shards: str, out: Path, run_dir: RunDir) -> None:
    """Train a base on SHARDS and write it to OUT; RUN_DIR keeps an interrupted run."""
    params, opened = config.load().base, Shards.open(shards)
    check_writable(out)
    train = opened["train"]
    size = train.pictures([train.rows.key(0)], "image").shape[1]
    torch.manual_seed(params.seed)  # initial weights
    base = new_base(params.patch_size, params.channels, params.text_width, [*train.captions(), *PROMPTS], size)
    began = time.time()
    curve = pretrain(base, opened, params, run_dir)
    print(f"base: trained in {(time.time() - began) / 60:.1f} min")
    card = CARD.format(
        samples=len(train),
        size=size,
        parameters=sum(p.numel() for p in base.unet.parameters()),
        prompts='", "'.join(PROMPTS),
        data=opened.digest,
        **asdict(params),
    )
    with atomic_directory(out) as scratch:
        save_base(base, scratch)
        write_curve(curve, scratch / "curve.csv")
        (scratch / "README.md").write_text(card)
    forget(run_dir)


if __name__ == "__main__":
    run(main)

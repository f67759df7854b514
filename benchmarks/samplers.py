"""Seconds per picture of 100 DDIM steps and of the ESS list: one picture a call and many.

python -m benchmarks.samplers                  # models/reference, at its own size
python -m benchmarks.samplers --compiled
python -m benchmarks.samplers --profile sd15   # networks as large as Stable Diffusion 1.5, with random weights

Both sides are the same model in the same process, and take turns; "times as fast" is the median of the turns' ratios.
The batch is doubled until a picture gets less than a tenth faster.
"""

import time
from statistics import median
from typing import Annotated

import torch
import typer
from PIL import Image

from benchmarks.memory import base_of, parameters
from benchmarks.outcome import ROOT
from usd.config.training import OURS
from usd.determinism import device_for, generator
from usd.diffusion.timesteps import sampling_timesteps
from usd.inference.pipeline import USDiffusionPipeline
from usd.training.finetune import new_denoiser

EXAMPLE = ROOT / "data/examples/image2depth"
SIDES = {"100 DDIM steps": sampling_timesteps("uniform", 100), "ESS-10": sampling_timesteps("ess", 10)}
GAIN = 1.1  # of pictures a second, for which a batch is doubled


def model(profile: str | None) -> USDiffusionPipeline:
    """The project's reference model; or an untrained one of a profile's sizes, in bf16."""
    if profile is None:
        return USDiffusionPipeline.from_pretrained(ROOT / "models/reference")
    params = parameters(profile)
    base = base_of(params)
    trained = new_denoiser(base, params.variants[OURS], params.train)
    parts = {name: getattr(base, name) for name in ("vae", "unet", "text_encoder", "tokenizer", "scheduler")}
    return USDiffusionPipeline(**parts, control=trained.control, adapter=trained.adapter).to(torch.bfloat16)


def seconds(pipeline: USDiffusionPipeline, timesteps: list[int], size: int) -> float:
    """Seconds per picture of one call, from pictures to pictures."""
    side = (pipeline.picture_size,) * 2
    source, target, query = (Image.open(EXAMPLE / f"{name}.png").resize(side) for name in ("source", "target", "query"))
    began = time.perf_counter()
    pipeline((source, target), [query] * size, timesteps=timesteps, guidance_scale=1.0, generator=generator(1))
    return (time.perf_counter() - began) / size  # pictures in the host's memory: the device has finished


def saturated(pipeline: USDiffusionPipeline, most: int) -> int:
    """The largest batch that is worth it: twice as many make a picture less than a tenth faster."""
    size, best = 8, float("inf")
    while size < most:
        seconds(pipeline, SIDES["ESS-10"], size)  # warms up
        found = min(seconds(pipeline, SIDES["ESS-10"], size) for _ in range(3))
        if found * GAIN > best:
            return size // 2
        size, best = 2 * size, found
    return most


def main(
    profile: Annotated[str | None, typer.Option(help="sizes of a profile, with random weights: gpu or sd15")] = None,
    turns: Annotated[int, typer.Option(help="of each side")] = 5,
    most: Annotated[int, typer.Option(help="pictures a call at most")] = 2048,
    compiled: Annotated[bool, typer.Option(help="the networks, with torch.compile")] = False,
) -> None:
    """Print the table."""
    device = device_for("auto")
    pipeline = model(profile).to(device)
    pipeline.set_progress_bar_config(disable=True)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    sizes = (1, saturated(pipeline, most))
    print(f"{name}, PyTorch {torch.__version__}, {pipeline.picture_size} pixels, {pipeline.unet.dtype}\n")
    print(f"| pictures a call | networks | {' | '.join(f'{side}: ms a picture' for side in SIDES)} | times as fast |")
    print("|---|---|---|---|---|")
    if compiled:
        pipeline.unet.compile(dynamic=False)
        pipeline.control.compile(dynamic=False)
    for size in sizes:
        rounds = [[seconds(pipeline, steps, size) for steps in SIDES.values()] for _ in range(turns + 1)][1:]
        each = [1000 * median(side) for side in zip(*rounds, strict=True)]
        ratio, mode = median(slow / fast for slow, fast in rounds), "compiled" if compiled else "eager"
        print(f"| {size} | {mode} | {each[0]:.2f} | {each[1]:.3f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)

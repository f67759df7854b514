"""The noise schedule of a base, whatever its scheduler."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, UniPCMultistepScheduler

from tests.conftest import ROOT
from usd.diffusion.sampling import ddim, set_timesteps
from usd.model.base import load_base


@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, PNDMScheduler, UniPCMultistepScheduler])
@pytest.mark.parametrize("flag", ["use_karras_sigmas", "use_beta_sigmas", "use_exponential_sigmas", "thresholding"])
def test_any_scheduler_gives_its_noise_schedule_alone(tmp_path: Path, kind: Any, flag: str) -> None:
    copy = Path(shutil.copytree(ROOT / "models/base", tmp_path / "base"))
    plain = DDIMScheduler.from_pretrained(copy / "scheduler")
    shutil.rmtree(copy / "scheduler")
    settings = {name: value for name, value in plain.config.items() if name != "clip_sample"}
    other = kind.from_config(settings | {"prediction_type": "v_prediction", flag: True})
    other.save_pretrained(copy / "scheduler")
    found = load_base(str(copy)).scheduler
    assert found.config.prediction_type == "v_prediction"
    sampler = ddim(found.config)
    set_timesteps(sampler, [998, 619, 80], torch.device("cpu"))
    assert sampler.timesteps.tolist() == [998, 619, 80]
    assert not found.config.clip_sample  # DDIM's default, which no file here has
    for scheduler in (found, sampler, ddim(other.config)):
        assert not scheduler.config.thresholding  # training knows none
    if kind is not UniPCMultistepScheduler and kind is not PNDMScheduler:  # those lose rescaled schedules
        assert torch.equal(found.alphas_cumprod, plain.alphas_cumprod)

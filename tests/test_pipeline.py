"""`USDiffusionPipeline`: the result depends on the seed alone, and a saved model is complete."""

from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from usd import config
from usd.errors import UsdError
from usd.finetuning import new_denoiser
from usd.pipeline import USDiffusionPipeline

PARAMS = config.load(ROOT / "params.yaml").train


@pytest.fixture
def pipeline(base) -> USDiffusionPipeline:
    denoiser = new_denoiser(base, PARAMS.variants["us_diffusion"], PARAMS)
    torch.manual_seed(0)
    for module in (denoiser.adapter.example.out, denoiser.adapter.query.out):
        torch.nn.init.normal_(module.weight, std=0.2)
    for zero in denoiser.control.controlnet_down_blocks:
        torch.nn.init.normal_(zero.weight, std=0.2)
    return USDiffusionPipeline(base, denoiser)


def call(pipeline: USDiffusionPipeline, count: int, **options):
    random = torch.Generator().manual_seed(5)
    pictures = torch.rand(3, 4, 3, 64, 64, generator=random)[:, :count]
    generators = [torch.Generator().manual_seed(i) for i in range(count)]
    settings = {"generator": generators, "output_type": "pt", "num_inference_steps": 4} | options
    return pipeline("a red cube on a blue floor", (pictures[0], pictures[1]), pictures[2], **settings)


def test_an_item_does_not_depend_on_its_batch(pipeline) -> None:
    alone, together = call(pipeline, 1).images, call(pipeline, 4).images
    assert alone.shape == (1, 3, 64, 64)
    assert torch.allclose(alone[0], together[0], atol=1e-4)


def test_the_pair_guidance_and_task_matter(pipeline) -> None:
    plain = call(pipeline, 1).images
    assert not torch.allclose(plain, call(pipeline, 1, guidance_scale=3.0).images, atol=1e-3)
    assert not torch.allclose(plain, call(pipeline, 1, task="seg2image").images, atol=1e-4)
    outside = call(pipeline, 1, guidance_scale=3.0, guidance_interval=(1, 2)).images
    assert torch.allclose(plain, outside, atol=1e-5)


def test_callback_and_progress_see_every_step(pipeline) -> None:
    seen: list[int] = []
    call(pipeline, 1, callback_on_step_end=lambda number, t, latents: seen.append(t), timesteps=[998, 500, 80])
    assert seen == [998, 500, 80]


def test_a_saved_pipeline_gives_the_same_images(pipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    again = USDiffusionPipeline.from_pretrained(tmp_path / "model")
    assert torch.allclose(call(pipeline, 2).images, call(again, 2).images, atol=1e-5)
    assert not list(tmp_path.rglob("*.bin"))


def test_what_does_not_fit_is_named(pipeline, tmp_path: Path) -> None:
    pictures = torch.rand(2, 3, 64, 64)
    with pytest.raises(UsdError, match="3 prompts for 2 queries"):
        pipeline(["a"] * 3, (pictures, pictures), pictures)
    with pytest.raises(UsdError, match="multiples of 8 pixels"):
        pipeline("a", (pictures, pictures), pictures[..., :60])
    with pytest.raises(UsdError, match="no trained model"):
        USDiffusionPipeline.from_pretrained(tmp_path)

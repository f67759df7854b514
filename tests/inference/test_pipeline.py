"""`USDiffusionPipeline`: the result depends on the seed alone, and a saved model is complete."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

from usd.errors import UsdError
from usd.inference.pipeline import USDiffusionPipeline

STEPS = [998, 619, 289, 80]


def call(pipeline: USDiffusionPipeline, count: int, **options):
    random = torch.Generator().manual_seed(5)
    pictures = torch.rand(3, 4, 3, 64, 64, generator=random)[:, :count]
    generators = [torch.Generator().manual_seed(i) for i in range(count)]
    settings = {
        "prompt": "a red cube on a blue floor",
        "image_pair": (pictures[0], pictures[1]),
        "query": pictures[2],
        "generator": generators,
        "output_type": "pt",
        "num_inference_steps": 4,
    }
    return pipeline(**settings | options)


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


def test_tasks_mix_in_a_batch(pipeline) -> None:
    mixed = call(pipeline, 3, task=["image2depth", None, "canny2image"])
    for row, task in enumerate(("image2depth", None, "canny2image")):
        alike = call(pipeline, 3, task=task)
        assert torch.allclose(mixed.indicator[row], alike.indicator[row], atol=1e-6)
        assert torch.allclose(mixed.images[row], alike.images[row], atol=1e-4)


def test_several_pairs_are_averaged(pipeline) -> None:
    one, other = (tuple(torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(i))) for i in range(2))
    first, second, both = (call(pipeline, 2, image_pair=pairs) for pairs in (one, [other], [one, other]))
    assert torch.allclose(both.indicator, (first.indicator + second.indicator) / 2, atol=1e-6)
    assert not torch.allclose(both.images, first.images, atol=1e-3)
    turned, twice = call(pipeline, 2, image_pair=[other, one]), call(pipeline, 2, image_pair=[one, one])
    assert torch.allclose(both.images, turned.images, atol=1e-4)
    assert torch.allclose(twice.images, first.images, atol=1e-4)


def test_adapter_and_text_are_computed_once(pipeline) -> None:
    adapter, calls = pipeline.adapter, []
    for part in (adapter.example, adapter.query, pipeline.text_encoder):
        part.register_forward_hook(lambda module, inputs, output: calls.append(module))
    call(pipeline, 2, timesteps=STEPS, guidance_scale=3.0)
    encoder = pipeline.text_encoder  # twice: the prompts, and no prompt
    assert [calls.count(part) for part in (adapter.example, adapter.query, encoder)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("scheduler", "settings"),
    [
        (EulerDiscreteScheduler, {}),  # is DDIM in other coordinates
        (DPMSolverMultistepScheduler, {"solver_order": 2}),
        (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
        (LCMScheduler, {}),
    ],
)
def test_any_scheduler_that_takes_a_list_runs_it(pipeline, scheduler, settings) -> None:
    plain, seen = call(pipeline, 2, timesteps=STEPS).images, []
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **settings)
    options = {"timesteps": STEPS, "callback_on_step_end": lambda pipeline, number, t, tensors: seen.append(t)}
    found = call(pipeline, 2, **options).images
    assert seen == STEPS
    assert torch.isfinite(found).all()
    assert torch.allclose(found, plain, atol=1e-3) == (scheduler is EulerDiscreteScheduler)
    assert torch.equal(found, call(pipeline, 2, **options).images)


@pytest.mark.parametrize(
    ("scheduler", "settings"),
    [(DDIMScheduler, {}), (UniPCMultistepScheduler, {}), (EulerDiscreteScheduler, {"use_karras_sigmas": True})],
)
def test_a_scheduler_that_takes_no_list_is_named(pipeline, scheduler, settings) -> None:
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **settings)
    with pytest.raises(UsdError, match=f"{scheduler.__name__}: takes no list of timesteps"):
        call(pipeline, 1)


def test_the_callback_sees_and_changes_every_step(pipeline) -> None:
    seen: list[int] = []

    def clear(sender: USDiffusionPipeline, number: int, t: int, tensors: dict[str, torch.Tensor]):
        assert sender is pipeline
        seen.append(t)
        return {"latents": torch.zeros_like(tensors["latents"])}

    images = call(pipeline, 1, callback_on_step_end=clear, timesteps=[998, 500, 80]).images
    assert seen == [998, 500, 80]
    assert torch.equal(images, torch.full_like(images, 0.5))  # a latent of zero is grey


def test_the_progress_bar_shows_unless_disabled(pipeline, capsys) -> None:
    call(pipeline, 1, timesteps=STEPS)
    assert "4/4" in capsys.readouterr().err
    pipeline.set_progress_bar_config(disable=True)
    call(pipeline, 1, timesteps=STEPS)
    assert not capsys.readouterr().err


def test_it_computes_in_another_dtype(pipeline) -> None:
    exact = call(pipeline, 2, guidance_scale=2.0).images
    rounded = call(pipeline.to(dtype=torch.bfloat16), 2, guidance_scale=2.0).images
    assert pipeline.dtype == torch.bfloat16
    assert rounded.dtype == torch.float32
    assert float((rounded - exact).abs().mean()) < 0.05


def test_the_decoders_memory_is_saved_where_there_is_an_autoencoder(pipeline) -> None:
    before = call(pipeline, 2).images
    pipeline.vae.enable_slicing()  # a PatchCodec has nothing to save, and works as before
    assert torch.equal(call(pipeline, 2).images, before)
    down, up = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    pipeline.vae = AutoencoderKL(
        down_block_types=down, up_block_types=up, block_out_channels=(8, 8), latent_channels=12, norm_num_groups=4
    )
    whole = call(pipeline, 2).images
    pipeline.vae.enable_slicing()
    assert pipeline.vae.use_slicing
    assert torch.allclose(call(pipeline, 2).images, whole, atol=1e-4)
    pipeline.vae.enable_tiling()  # each tile is normalised by itself: not the same picture to the last bit
    assert pipeline.vae.use_tiling
    assert call(pipeline, 2).images.shape == whole.shape
    pipeline.vae.disable_slicing()
    pipeline.vae.disable_tiling()
    assert not pipeline.vae.use_slicing
    assert not pipeline.vae.use_tiling


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt": ["a"] * 3}, "prompt: 3 given for 2 queries; give one, or one per query"),
        ({"task": ["image2depth"]}, "task: 1 given for 2 queries"),
        ({"generator": [torch.Generator()] * 3}, "generator: 3 given for 2 queries"),
        ({"task": "depth"}, "unknown task 'depth'; expected image2<map>"),
        ({"query": torch.rand(2, 1, 64, 64)}, r"query: shape \(2, 1, 64, 64\)"),
        ({"query": torch.rand(2, 3, 64, 64) * 255}, "query: values within .* must be within 0 and 1"),
        (
            {"query": [torch.rand(3, 64, 64), torch.rand(3, 32, 32)]},
            r"query: images of several sizes, \(64, 64\), \(32",
        ),
        ({"query": "photo.png"}, "query: str is not an image"),
        ({"output_type": "jpg"}, "output_type: 'jpg' is unknown"),
        ({"query": torch.rand(2, 3, 64, 61)}, "multiples of 2 pixels"),
        ({"query": torch.rand(2, 3, 64, 2)}, r"query: sides \(64, 2\) must be multiples of 2 pixels, and at least 4"),
        ({"query": torch.rand(2, 3, 32, 32)}, r"image_pair: shape \(2, 3, 64, 64\) does not fit"),
        ({"image_pair": (torch.rand(2, 3, 64, 64),)}, "image_pair: not a pair"),
        ({"image_pair": []}, "image_pair: the list is empty"),
        ({"timesteps": [998]}, "timesteps: 1 given, and num_inference_steps is 4; give one of the two"),
        ({"timesteps": [80, 998], "num_inference_steps": 2}, r"timesteps: \[80, 998\] must descend"),
        ({"timesteps": [1000, 80, 0]}, r"timesteps: \[1000, 80, 0\] must descend and lie between 999 and 0"),
        ({"timesteps": [998.5, 80]}, r"timesteps: \[998\.5, 80\] is not a list of whole numbers"),
        ({"timesteps": [float("nan")]}, r"timesteps: \[nan\] is not a list of whole numbers"),
        ({"timesteps": "900"}, "timesteps: '900' is not a list of whole numbers"),
        ({"num_inference_steps": 2.5}, r"num_inference_steps: 2\.5 is not a whole number"),
        ({"num_inference_steps": "2"}, "num_inference_steps: '2' is not a whole number"),
        ({"guidance_scale": float("nan")}, "guidance_scale: nan is not a finite number"),
        ({"guidance_scale": float("inf")}, "guidance_scale: inf is not a finite number"),
        ({"guidance_scale": "2"}, "guidance_scale: '2' is not a finite number"),
        (
            {"timesteps": range(999, -1, -1), "num_inference_steps": 1000, "guidance_scale": -3},
            "guidance_scale: -3 is not a finite number of at least 0",
        ),
        ({"guidance_interval": (900, 100)}, r"guidance_interval: \(900, 100\) is not a pair of timesteps, the lowest"),
        ({"guidance_interval": (1,)}, r"guidance_interval: \(1,\) is not a pair of timesteps"),
        ({"guidance_interval": 5}, "guidance_interval: 5 is not a pair of timesteps"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt: must be at least 1, not 0"),
        ({"num_images_per_prompt": None}, "num_images_per_prompt: None is not a whole number"),
        ({"prompt": None}, "prompt: NoneType is not text"),
        ({"prompt": ["a", 5]}, "prompt: int is not text"),
        ({"task": 5}, "task: int is not text"),
        ({"task": "image2"}, "unknown task 'image2'; expected image2<map>"),
        ({"generator": 5}, r"generator: int is not one; torch\.Generator"),
        ({"generator": [None, torch.Generator()]}, "generator: NoneType is not one"),
        ({"latents": torch.zeros(1)}, r"latents: \(1,\) does not fit; x_t is a tensor of \(2, 12, 32, 32\)"),
        ({"latents": torch.full((2, 12, 32, 32), float("nan"))}, "x_t is a tensor of .*, all finite"),
        ({"query": torch.zeros(0, 3, 64, 64)}, r"query: shape \(0, 3, 64, 64\) .* has no pixels"),
        ({"query": PIL.Image.new("RGB", (0, 0))}, r"query: shape \(3, 0, 0\) .* has no pixels"),
        ({"query": np.full((64, 64, 3), "a")}, "query: an array of <U1 is not an image"),
        ({"callback_on_step_end": 5}, "callback_on_step_end: int is not a function"),
        ({"callback_on_step_end": lambda *_: 5}, "callback_on_step_end: returned int; return None"),
        (
            {"callback_on_step_end": lambda *_: {"latents": None}},
            "_step_end: latents: NoneType does not fit",
        ),
        ({"callback_on_step_end": lambda *_: {"latents": torch.zeros(2)}}, r"latents: \(2,\) does not fit; x_t is a t"),
        ({"guidance_scale": 1e30, "timesteps": [998, 500, 80]}, "a result is not finite; lower guidance_scale"),
        ({"callback_on_step_end_tensor_inputs": ["image"]}, r"\['image'\] are unknown; there are only latents"),
    ],
)
def test_what_does_not_fit_is_named(pipeline, options, said) -> None:
    with pytest.raises(UsdError, match=said):
        call(pipeline, 2, **options)


def test_an_indicator_that_is_not_finite_is_told_as_such(pipeline) -> None:
    """Of a model that has diverged, or is used in half precision that is too narrow for it."""
    pipeline.adapter.indicator.head.bias.data[0] = float("nan")
    with pytest.raises(UsdError, match=r"a result is not finite; .* or train it again if it has diverged"):
        call(pipeline, 2)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsdError, match="no trained model"):
        USDiffusionPipeline.from_pretrained(tmp_path)

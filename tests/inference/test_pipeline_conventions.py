"""What any pipeline of diffusers does: the contracts of its common pipeline tests, for `USDiffusionPipeline`."""

import inspect
import json
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import DiffusionPipeline

from tests.conftest import ROOT
from tests.inference.test_pipeline import call
from usd.errors import UsdError
from usd.images import to_array
from usd.inference.arguments import starting_noise
from usd.inference.pipeline import USDiffusionPipeline
from usd.model.control import Denoiser
from usd.model.directory import load_model, save_model

PARTS = {"vae", "unet", "text_encoder", "tokenizer", "scheduler", "control", "adapter"}


def test_the_call_has_the_arguments_that_all_pipelines_have() -> None:
    parameters = inspect.signature(USDiffusionPipeline.__call__).parameters
    assert {"image_pair", "query", "prompt"} <= parameters.keys()
    wanted = {"num_inference_steps", "num_images_per_prompt", "generator", "latents", "output_type", "return_dict"}
    assert all(parameters[name].default is not inspect.Parameter.empty for name in wanted)


def test_a_call_needs_the_pair_and_the_query_alone(pipeline) -> None:
    wanted = call(pipeline, 2, prompt="")
    pair, query = torch.rand(3, 4, 3, 64, 64, generator=torch.Generator().manual_seed(5))[:, :2].split([2, 1])
    noise = [torch.Generator().manual_seed(i) for i in range(2)]
    found = pipeline(tuple(pair), query[0], num_inference_steps=4, generator=noise, output_type="pt")
    assert torch.equal(found.images, wanted.images)


@pytest.mark.parametrize("loader", [USDiffusionPipeline, DiffusionPipeline])
def test_a_saved_pipeline_gives_the_same_images(pipeline, tmp_path: Path, loader) -> None:
    pipeline.register_to_config(sampling={name: {"timesteps": [998], "guidance_scale": 2.0} for name in DIRECTIONS})
    pipeline.save_pretrained(tmp_path)
    again = loader.from_pretrained(tmp_path)
    assert type(again) is USDiffusionPipeline
    assert set(again.components) == PARTS
    wanted, found = (call(each, 2, num_inference_steps=None).images for each in (pipeline, again))
    assert again.guidance_scale == 2.0
    assert torch.allclose(wanted, found, atol=1e-5)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".ckpt", ".pkl")]


DIRECTIONS = ("image2map", "map2image")


def test_options_alone_load_it(pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/pipeline.md says, where no import can be added."""
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.delattr("diffusers.USDiffusionPipeline")
    pipeline.save_pretrained(tmp_path / "model")
    options = {"custom_pipeline": str(ROOT / "usd/inference"), "trust_remote_code": True}
    again = DiffusionPipeline.from_pretrained(tmp_path / "model", **options)
    assert type(again).__name__ == "USDiffusionPipeline"
    assert torch.equal(call(again, 1).images, call(pipeline, 1).images)


def test_a_training_and_the_pipeline_write_the_same_directory(pipeline, base, tmp_path: Path) -> None:
    denoiser = Denoiser(pipeline.unet, pipeline.control, pipeline.adapter)
    save_model(tmp_path / "trained", base, denoiser, pipeline.config.sampling)
    pipeline.save_pretrained(tmp_path / "saved")
    trained, saved = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("trained", "saved")
    )
    assert trained.keys() == saved.keys()
    changed = {name for name, data in trained.items() if data != saved[name]}
    assert changed == {"model_index.json", "scheduler/scheduler_config.json"}
    indices = [json.loads(files["model_index.json"]) for files in (trained, saved)]
    assert all(indices[0][name] == indices[1][name] for name in {"sampling", *PARTS} - {"scheduler"})
    _, denoiser = load_model(tmp_path / "saved")
    assert all(torch.equal(a, b) for a, b in zip(denoiser.unet.parameters(), pipeline.unet.parameters(), strict=True))


def test_a_text_encoder_in_half_precision_is_no_obstacle(pipeline) -> None:
    exact = call(pipeline, 1).images
    pipeline.text_encoder.half()
    assert torch.allclose(call(pipeline, 1).images, exact, atol=1e-2)


def test_pictures_arrays_and_tensors_are_the_same(pipeline) -> None:
    arrays = np.random.default_rng(0).integers(0, 255, (3, 2, 64, 64, 3), dtype=np.uint8)
    tensors = torch.from_numpy(arrays).movedim(-1, -3) / 255
    pictures = [[PIL.Image.fromarray(one) for one in two] for two in arrays]
    wanted = call(pipeline, 2, image_pair=(tensors[0], tensors[1]), query=tensors[2]).images
    for source, target, query in (pictures, arrays, arrays.astype(np.float32) / 255, [list(two) for two in tensors]):
        for pair in ((source, target), [(source, target)]):
            assert torch.equal(call(pipeline, 2, image_pair=pair, query=query).images, wanted)


def test_pictures_are_taken_without_a_warning(pipeline) -> None:
    picture = PIL.Image.new("RGB", (64, 64))
    torch.set_warn_always(True)  # else once in a process
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            call(pipeline, 1, image_pair=(picture, picture), query=picture)
    finally:
        torch.set_warn_always(False)


def test_a_picture_of_any_size_becomes_an_upright_square(pipeline) -> None:
    photo = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8))
    turned = photo.transpose(PIL.Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x112] = 6
    pair = (photo, photo)
    wanted = call(pipeline, 1, image_pair=pair, query=photo).images
    turned.info["exif"] = exif.tobytes()
    assert wanted.shape == (1, 3, 64, 64)
    assert torch.equal(call(pipeline, 1, image_pair=pair, query=turned).images, wanted)


def test_all_outputs_are_the_same(pipeline) -> None:
    tensor = call(pipeline, 2).images
    array, pictures = (call(pipeline, 2, output_type=kind).images for kind in ("np", "pil"))
    assert np.array_equal(array, tensor.movedim(1, -1).numpy())
    assert np.array_equal(np.stack([np.asarray(picture) for picture in pictures]), to_array(tensor))
    assert call(pipeline, 2, output_type="latent").images.shape == (2, 12, 32, 32)
    images, indicator = call(pipeline, 2, return_dict=False)
    assert torch.equal(images, tensor)
    assert indicator.shape == (2, 6)


def test_several_results_a_query(pipeline) -> None:
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    found = call(pipeline, 2, num_images_per_prompt=2, generator=generators).images
    alone = call(pipeline, 2, generator=[torch.Generator().manual_seed(i) for i in (0, 2)]).images
    assert len(found) == 4
    assert torch.allclose(found[::2], alone, atol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_given_noise_is_the_start(pipeline) -> None:
    noise = torch.randn(1, 12, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(call(pipeline, 1, latents=noise).images, call(pipeline, 1).images)


def test_noise_is_drawn_where_the_generator_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGpu(torch.Generator):
        device = torch.device("cuda")

    class Drawn(Exception):
        """There is no GPU here to draw on."""

    def draw(*_: object, device: torch.device, **__: object) -> None:
        raise Drawn(device)

    monkeypatch.setattr(torch, "randn", draw)
    for generator, device in ((OnGpu(), "cuda"), ([OnGpu()] * 2, "cuda"), (torch.Generator(), "cpu"), (None, "None")):
        with pytest.raises(Drawn, match=device):
            starting_noise((2, 4, 8, 8), generator, None)


def test_a_callback_raises_guidance_and_interrupts(pipeline) -> None:
    seen = []

    def raise_guidance(sender: USDiffusionPipeline, number: int, t: int, tensors: dict[str, torch.Tensor]) -> None:
        assert tensors.keys() == set(sender._callback_tensor_inputs)
        seen.append(t)
        sender._guidance_scale += 1.0
        sender._interrupt = number == 1

    call(pipeline, 1, guidance_scale=2.0, callback_on_step_end=raise_guidance)
    assert seen == [998, 819]
    assert pipeline.guidance_scale == 4.0


def test_queries_with_other_defaults_are_not_sampled_together(pipeline) -> None:
    with pytest.raises(UsdError, match="some queries ask for a map and some for an image"):
        call(pipeline, 2, task=["image2depth", "seg2image"], num_inference_steps=None)


@pytest.mark.parametrize(("task", "steps"), [("image2depth", 1), ("canny2image", 9)])
def test_the_models_own_sampling_is_the_default(pipeline, task, steps: int) -> None:
    seen = []

    def note(sender: USDiffusionPipeline, number: int, t: int, tensors: dict[str, torch.Tensor]) -> None:
        seen.append(t)

    call(pipeline, 2, task=task, num_inference_steps=None, callback_on_step_end=note)
    assert len(seen) == steps


@pytest.mark.parametrize(("kind", "steps"), [("sample", 1), ("epsilon", 9), ("v_prediction", 9)])
def test_parts_alone_are_sampled_as_their_prediction_allows(pipeline, kind: str, steps: int) -> None:
    pipeline.scheduler.register_to_config(prediction_type=kind)
    sampling = USDiffusionPipeline(**pipeline.components).config.sampling
    assert [len(sampling[direction]["timesteps"]) for direction in DIRECTIONS] == [steps, 9]


def test_another_pipeline_of_one_is_sampled_as_that_is(pipeline) -> None:
    own = {name: {"timesteps": [998, 80], "guidance_scale": 2.0} for name in DIRECTIONS}
    pipeline.register_to_config(sampling=own)
    assert USDiffusionPipeline.from_pipe(pipeline).config.sampling == own


def test_a_callback_can_switch_guidance_on(pipeline) -> None:
    def raise_guidance(sender: USDiffusionPipeline, number: int, t: int, tensors: dict[str, torch.Tensor]) -> None:
        sender._guidance_scale = 3.0

    prompt = ["a red cube", "a blue ball"]
    started = call(pipeline, 2, prompt=prompt, guidance_scale=1.0, callback_on_step_end=raise_guidance)
    barely = call(pipeline, 2, prompt=prompt, guidance_scale=1 + 1e-9, callback_on_step_end=raise_guidance)
    assert torch.allclose(started.images, barely.images, atol=1e-4)


def test_attention_slicing_changes_nothing(pipeline) -> None:
    plain = call(pipeline, 1).images
    pipeline.enable_attention_slicing(1)
    assert torch.allclose(call(pipeline, 1).images, plain, atol=1e-4)

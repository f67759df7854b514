"""A model loads whole and in the precision and variant asked for, or is refused in one line."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT
from tests.inference.test_pipeline import call
from usd.errors import UsdError
from usd.inference.pipeline import USDiffusionPipeline
from usd.model.directory import load_model


def test_a_variant_is_written_and_read_and_a_missing_one_named(pipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path, variant="fp16")
    assert {path.name.split(".")[1] for path in tmp_path.rglob("*.safetensors")} == {"fp16"}
    _, denoiser = load_model(tmp_path)
    asked, found = (USDiffusionPipeline.from_pretrained(tmp_path, **each) for each in ({"variant": "fp16"}, {}))
    for again in (asked, found, denoiser):
        assert torch.equal(again.adapter.query.out.weight, pipeline.adapter.query.out.weight)
    with pytest.raises(UsdError, match="not readable: You are trying to load the model files of the `variant=bf16`"):
        USDiffusionPipeline.from_pretrained(tmp_path, variant="bf16")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_loads_and_computes_in_half_precision(pipeline, tmp_path: Path, dtype: torch.dtype) -> None:
    exact = call(pipeline, 1, guidance_scale=2.0).images
    pipeline.save_pretrained(tmp_path)
    for half in (USDiffusionPipeline.from_pretrained(tmp_path, dtype=dtype), pipeline.to(dtype=dtype)):
        parts = [part for part in half.components.values() if isinstance(part, torch.nn.Module)]
        assert {part.dtype for part in parts} == {dtype}
        found = call(half, 1, guidance_scale=2.0).images
        assert found.dtype == torch.float32
        assert float((found - exact).abs().mean()) < 0.05


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vae": None}, "vae: a model needs it; leave the option out"),
        ({"torch_dtype": {"unet": torch.bfloat16}}, "dtype: unet in torch.bfloat16 and control in torch.float32 do"),
        ({"torch_dtype": {"unet": torch.float32, "default": torch.bfloat16}}, "control in torch.bfloat16 do not fit"),
    ],
)
def test_options_that_do_not_fit_the_model_are_named(options, said: str) -> None:
    with pytest.raises(UsdError, match=said):
        USDiffusionPipeline.from_pretrained(ROOT / "models/reference", **options)


def test_parts_in_their_own_precision_work_together() -> None:
    half = dict.fromkeys(("unet", "control"), torch.bfloat16)
    mixed = USDiffusionPipeline.from_pretrained(ROOT / "models/reference", torch_dtype=half)
    assert (mixed.unet.dtype, mixed.adapter.dtype) == (torch.bfloat16, torch.float32)
    assert call(mixed, 1).images.shape == (1, 3, 64, 64)


def test_loading_asks_for_nothing_that_is_deprecated(pipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    with warnings.catch_warnings(action="error", category=FutureWarning):
        USDiffusionPipeline.from_pretrained(tmp_path)
        load_model(tmp_path)


@pytest.mark.parametrize("part", ["unet", "text_encoder", "control", "adapter"])
def test_a_model_without_some_of_its_weights_is_refused(tmp_path: Path, part: str) -> None:
    shutil.copytree(ROOT / "models/reference", tmp_path / "model")
    (path,) = (tmp_path / "model" / part).glob("*.safetensors")
    weights = load_file(path)
    name = min(weights)
    save_file({other: weight for other, weight in weights.items() if other != name}, path, {"format": "pt"})
    for load in (USDiffusionPipeline.from_pretrained, load_model):
        with pytest.raises(UsdError, match=rf"{part}: missing weights: 1, the first is {name}"):
            load(tmp_path / "model")


@pytest.mark.parametrize("part", ["control", "adapter", "unet", "tokenizer", "model_index.json"])
def test_what_a_directory_lacks_is_named(pipeline, tmp_path: Path, part: str) -> None:
    pipeline.save_pretrained(tmp_path)
    (tmp_path / part).rename(tmp_path / "away")
    with pytest.raises(UsdError, match=rf"\({part}/? missing\); run `dvc repro train`"):
        USDiffusionPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("tokenizer/tokenizer.json", None, "tokenizer: neither"),
        ("tokenizer/tokenizer_config.json", '{"model_max_length": "x"}', "model_max_length 'x' does not fit"),
        ("model_index.json", "[]", "model_index.json: not an object"),
        ("scheduler/scheduler_config.json", '{"beta_start": "x"}', "scheduler: beta_start 'x' does not fit"),
        ("scheduler/scheduler_config.json", '{"trained_betas": {"a": 1}}', "scheduler: trained_betas does not fit"),
        ("vae/config.json", '{"_class_name": "PatchCodec", "patch_size": "x"}', "not readable"),
    ],
)
def test_a_damaged_model_is_one_line(tmp_path: Path, name: str, text: str | None, named: str) -> None:
    path = Path(shutil.copytree(ROOT / "models/reference", tmp_path / "model")) / name
    path.write_text(text) if text else path.unlink()
    for load in (USDiffusionPipeline.from_pretrained, load_model):
        with pytest.raises(UsdError, match=named):
            load(tmp_path / "model")


def test_pickled_weights_are_refused(pipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    weights = tmp_path / "adapter/diffusion_pytorch_model.safetensors"
    torch.save(pipeline.adapter.state_dict(), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(UsdError, match="not readable"):
        USDiffusionPipeline.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["somebody/us-diffusion", "models/nowhere", "/nowhere"])
def test_a_name_that_leads_nowhere_is_one_line(name: str) -> None:
    said = "hub cannot be reached; give a model as a directory" if name.startswith("somebody") else "no such directory"
    with pytest.raises(UsdError, match=said):
        USDiffusionPipeline.from_pretrained(name)

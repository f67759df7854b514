"""Adapter, control branch, base and losses."""

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from usd import config
from usd.diffusion.prediction import clean_estimate, denoising_target
from usd.diffusion.sampling import usual_samplings
from usd.errors import UsdError
from usd.model.adapter import InContextAdapter, SeparateGather
from usd.model.base import Base, decode, encode, encode_text, load_base
from usd.model.control import predict
from usd.model.directory import halve, model_directory, save_model
from usd.model.requirements import stored_variant
from usd.model.source import _wanted
from usd.tasks import TRAINED
from usd.training.finetune import new_denoiser

EVERYTHING = config.load(ROOT / "params.yaml")
PARAMS, VARIANTS = replace(EVERYTHING.train, warm_start=config.NO_START), EVERYTHING.variants
SAMPLING = usual_samplings("sample", 10)


def adapter(kind: str = "separate_gather", scale: int = 2) -> InContextAdapter:
    return InContextAdapter(kind, [task.name for task in TRAINED], [8, 8, 8, 8, 16, 24], 16, scale)


@pytest.fixture
def inputs(base):
    random = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 64, 64, generator=random)
    return {
        "x_t": torch.randn(2, 12, 32, 32, generator=random),
        "t": torch.tensor([80, 998]),
        "text": encode_text(base, ["a red cube on a blue floor"] * 2).detach(),
        "pair": torch.cat([image, image.flip(0)], dim=1),
        "query": image,
        "indicator": torch.eye(6)[[0, 3]],
        "keep_pair": torch.tensor([True, True]),
    }


@pytest.mark.parametrize("variant", ["us_diffusion", "prompt_diffusion"])
def test_at_initialisation_the_output_is_the_bases(base, inputs, variant) -> None:
    denoiser = new_denoiser(base, VARIANTS[variant], PARAMS)
    with torch.no_grad():
        steered, *_ = denoiser(**inputs)
        alone = base.unet(inputs["x_t"], inputs["t"], inputs["text"]).sample
    assert torch.equal(steered, alone)


def test_every_variant_starts_with_the_output_of_the_generic_control_branch(base, inputs, tmp_path: Path) -> None:
    trained = new_denoiser(load_base(str(ROOT / "models/base")).freeze(), VARIANTS["control"], PARAMS)
    torch.manual_seed(0)
    zeros = [trained.adapter.query.out, *trained.control.controlnet_down_blocks, trained.unet.conv_out]
    for module in zeros:
        torch.nn.init.normal_(module.weight, std=0.2)
    own = Base(base.vae, trained.unet, base.text_encoder, base.tokenizer, base.scheduler)
    save_model(tmp_path, own, trained, SAMPLING)
    with torch.no_grad():
        wanted, _ = trained(**inputs)
        for variant in ("us_diffusion", "prompt_diffusion"):
            started = new_denoiser(base, VARIANTS[variant], replace(PARAMS, warm_start=str(tmp_path)))
            found, _ = started(**inputs)
            torch.testing.assert_close(found, wanted)
    with pytest.raises(UsdError, match=r"warm_start: .* is of another base or adapter .*thaw the stage `control`"):
        new_denoiser(
            base, VARIANTS["control"], replace(PARAMS, warm_start=str(tmp_path), adapter_channels=[8, 8, 8, 8])
        )


def test_a_start_of_another_base_or_of_a_trained_variant_is_refused(base, tmp_path: Path) -> None:
    """It would replace the U-Net of `train.base`, or lose what its example branch has learned."""
    control, variant = (new_denoiser(base, VARIANTS[name], PARAMS) for name in ("control", "us_diffusion"))
    save_model(tmp_path / "control", base, control, SAMPLING)
    save_model(tmp_path / "variant", base, variant, SAMPLING)
    other, third = (load_base(str(ROOT / "models/base")).freeze() for _ in range(2))
    other.unet.down_blocks[0].resnets[0].conv1.weight.mul_(1.01)
    kinds = ("CrossAttnDownBlock2D", *third.unet.config.down_block_types[1:])
    third.unet = UNet2DConditionModel.from_config(third.unet.config, down_block_types=kinds)
    for taken, reason in ((other, "down_blocks.0.resnets.0.conv1.weight"), (third, "down_blocks.0.attentions")):
        with pytest.raises(
            UsdError, match=rf"warm_start: .*control is of another base or adapter \({reason}.* differs"
        ):
            new_denoiser(taken, VARIANTS["us_diffusion"], replace(PARAMS, warm_start=str(tmp_path / "control")))
    with pytest.raises(
        UsdError, match=r"warm_start: .*variant is a trained variant; name the model of stage `control`"
    ):
        new_denoiser(base, VARIANTS["us_diffusion"], replace(PARAMS, warm_start=str(tmp_path / "variant")))
    halve(tmp_path / "control")
    new_denoiser(base, VARIANTS["us_diffusion"], replace(PARAMS, warm_start=str(tmp_path / "control")))
    params = replace(PARAMS, warm_start=str(tmp_path / "control"), unlock="all")
    assert new_denoiser(other, VARIANTS["us_diffusion"], params).unet is other.unet  # its encoder may have been trained


def test_the_indicator_picks_its_light_module() -> None:
    sga = SeparateGather(3, 3, [8, 8, 8, 8, 16], 4, scale=2)
    torch.nn.init.normal_(sga.out.weight)
    image, indicator = torch.rand(1, 3, 16, 16), torch.eye(3)
    first, second = sga(image, indicator[:1]), sga(image, indicator[1:2])
    assert first.shape == (1, 4, 8, 8)
    assert not torch.allclose(first, second)
    sga(image, indicator[:1]).sum().backward()
    assert sga.light[0][0].weight.grad is not None
    assert sga.light[1][0].weight.grad is None


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_adapter_meets_the_latents_size(scale) -> None:
    made = adapter(scale=scale)
    indicator = made.named("image2depth").expand(2, -1)
    parts = made.read_pair(torch.rand(2, 6, 64, 64), indicator), made.read_query(torch.rand(2, 3, 64, 64), indicator)
    for found in parts:
        assert found.shape == (2, 16, 64 // scale, 64 // scale)
        assert float(found.abs().max()) == 0


def test_an_unseen_task_averages_its_own_direction() -> None:
    weights = adapter().named("canny2image")
    expected = [0.0 if name.startswith("image2") else 1 / 3 for name in [task.name for task in TRAINED]]
    assert weights.tolist() == pytest.approx(expected)


def test_the_adapter_round_trips(tmp_path: Path) -> None:
    made = adapter()
    made.save_pretrained(tmp_path)
    again = InContextAdapter.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_the_clean_estimate_inverts_every_prediction_type(base, kind) -> None:
    base.scheduler.register_to_config(prediction_type=kind)
    random = torch.Generator().manual_seed(1)
    x_0, noise = (torch.randn(3, 12, 8, 8, generator=random) for _ in range(2))
    t = torch.tensor([0, 200, 900])
    x_t = base.scheduler.add_noise(x_0, noise, t)
    target = denoising_target(base.scheduler, x_0, x_t, t)
    assert torch.allclose(clean_estimate(base.scheduler, target, x_t, t), x_0, atol=1e-3)
    made_of_noise = torch.randn(x_0.shape, generator=random)  # as when a sampler has reached it from a wrong estimate
    target = denoising_target(base.scheduler, x_0, made_of_noise, t)
    assert torch.allclose(clean_estimate(base.scheduler, target, made_of_noise, t), x_0, atol=1e-3)


def test_the_codec_is_lossless(base) -> None:
    image = torch.rand(2, 3, 64, 64)
    assert torch.allclose(decode(base.vae, encode(base.vae, image)), image, atol=1e-6)


def test_the_features_do_not_depend_on_the_timestep(base, inputs) -> None:
    denoiser = new_denoiser(base, VARIANTS["us_diffusion"], PARAMS)
    torch.nn.init.normal_(denoiser.adapter.query.out.weight)
    example = denoiser.adapter.read_pair(inputs["pair"], inputs["indicator"])
    features = example + denoiser.adapter.read_query(inputs["query"], inputs["indicator"])
    with torch.no_grad():
        whole, *_ = denoiser(**inputs)
        once = predict(denoiser.unet, denoiser.control, inputs["x_t"], inputs["t"], inputs["text"], features)
    assert torch.allclose(whole, once, atol=1e-5)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
SETTINGS = {
    str(path.relative_to(ROOT / "models/reference")): sorted(json.loads(path.read_text()))
    for path in (ROOT / "models/reference").rglob("*.json")
    if path.parent.name in ("reference", "scheduler", "vae", "unet", "text_encoder")
}


def without_weights(root: Path) -> Path:
    """A copy of the bundled model's small files."""
    return Path(shutil.copytree(ROOT / "models/reference", root, ignore=shutil.ignore_patterns("*.safetensors")))


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SETTINGS)), st.data())
def test_settings_of_any_value_are_used_or_named(name: str, data: st.DataObject) -> None:
    key, junk = data.draw(st.sampled_from(SETTINGS[name])), data.draw(JUNK)
    with TemporaryDirectory() as folder:
        root = without_weights(Path(folder) / "model")
        found = json.loads((root / name).read_text()) | {key: junk}
        (root / name).write_text(json.dumps(found if data.draw(st.booleans()) else junk))
        with suppress(UsdError):
            model_directory(str(root))


WEIGHTS = "diffusion_pytorch_model"


@pytest.mark.parametrize("variant", [None, "fp16", "bf16"])
@pytest.mark.parametrize("stored", [{None}, {"fp16"}, {None, "fp16"}, {None, "fp16", "bf16"}])
def test_of_a_repository_the_weights_that_are_loaded_are_fetched(
    tmp_path: Path, variant: str | None, stored: set[str | None]
) -> None:
    files = {
        kind: {f"{WEIGHTS}{'.' + kind if kind else ''}-0000{n}-of-00002.safetensors" for n in (1, 2)} for kind in stored
    }
    for kind, shards in files.items():
        index = json.dumps({"weight_map": {name: name for name in shards}})
        (tmp_path / f"{WEIGHTS}.safetensors.index{'.' + kind if kind else ''}.json").write_text(index)
    settings = {path.name for path in tmp_path.iterdir()}
    fetched = _wanted([f"unet/{name}" for name in settings.union(*files.values())], ["unet"], variant)
    wanted = variant if variant in stored else None if None in stored else "fp16"
    assert {Path(name).name for name in fetched} == settings | files[wanted]
    for name in files[wanted]:
        (tmp_path / name).touch()
    assert stored_variant(tmp_path) == wanted


GOOD = {"timesteps": [998, 80], "guidance_scale": 1.5}


@pytest.mark.parametrize(
    ("sampling", "fits"),
    [
        (None, True),
        ({"image2map": GOOD, "map2image": {"timesteps": [0]}}, True),
        ({"image2map": GOOD}, False),
        ([GOOD, GOOD], False),
        *(
            ({"image2map": GOOD, "map2image": GOOD | wrong}, False)
            for wrong in (
                {"steps": 4},
                {"timesteps": "ess"},
                {"timesteps": ["998"]},
                {"timesteps": [5000]},
                {"timesteps": [80, 998]},
                {"timesteps": []},
                {"guidance_scale": None},
                {"guidance_scale": float("nan")},
                {"guidance_scale": -1.0},
            )
        ),
    ],
)
def test_the_sampling_of_a_model_is_a_list_of_timesteps_and_a_scale(tmp_path: Path, sampling: Any, fits: bool) -> None:
    root = without_weights(tmp_path / "model")
    index = json.loads((root / "model_index.json").read_text()) | {"sampling": sampling}
    (root / "model_index.json").write_text(json.dumps(index))
    if fits:
        model_directory(str(root))
    else:
        with pytest.raises(UsdError, match=r"model_index\.json: sampling of \S+ is .*; expected"):
            model_directory(str(root))

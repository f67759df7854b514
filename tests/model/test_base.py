"""A base of any kind loads, or is refused in one line that says why."""

import inspect
import itertools
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ControlNetModel,
    UNet2DConditionModel,
)
from huggingface_hub.utils import filter_repo_objects, httpx
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests.conftest import ROOT
from tests.documents import commands
from usd.errors import UsdError
from usd.model.base import encode_text, load_base, save_base
from usd.model.licence import Origin, origin_of
from usd.model.requirements import COPIED

BUNDLED = ROOT / "models/base"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the bundled base, to be changed."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "base"))


def test_what_is_stored_does_not_depend_on_what_was_encoded_before(tmp_path: Path) -> None:
    """A training that is resumed after its last step encodes nothing, and the tests set HF_HUB_OFFLINE."""
    base = load_base(str(BUNDLED))
    for name in ("before", "after"):
        save_base(base, tmp_path / name)
        encode_text(base, ["a red cube"])
    assert "local_files_only" not in (tmp_path / "before/tokenizer/tokenizer_config.json").read_text()
    for path in (tmp_path / "before").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "after" / path.relative_to(tmp_path / "before")).read_bytes(), path.name


def set_in(name: str, **values: Any) -> Callable[[Path], None]:
    """A change of a part's settings."""

    def change(root: Path) -> None:
        settings = json.loads((root / name).read_text()) | values
        (root / name).write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))

    return change


ENDING = [0.01] * 999 + [1.0]  # betas that leave no signal at the end
schedule = partial(set_in, "scheduler/scheduler_config.json")


def half_precision(root: Path) -> None:
    CLIPTextModel.from_pretrained(root / "text_encoder").half().save_pretrained(root / "text_encoder")


def fp16_files_only(root: Path) -> None:
    for path in (root / UNET, root / "text_encoder/model.safetensors"):
        half = {name: weight.half() for name, weight in load_file(path).items()}
        save_file(half, path.with_suffix(".fp16.safetensors"), {"format": "pt"})
        path.unlink()


def sharded(root: Path) -> None:
    base = load_base(str(root))
    (root / UNET).unlink()
    base.unet.save_pretrained(root / "unet", max_shard_size="1MB")
    assert len(list((root / "unet").glob("*-of-*.safetensors"))) > 1


def with_projection(root: Path) -> None:
    settings = CLIPTextModel.from_pretrained(root / "text_encoder").config
    encoder = CLIPTextModelWithProjection(settings)
    whole = CLIPTextModel.from_pretrained(root / "text_encoder")
    encoder.text_model.load_state_dict(getattr(whole, "text_model", whole).state_dict())
    shutil.rmtree(root / "text_encoder")
    encoder.save_pretrained(root / "text_encoder")


def ema_files_beside(root: Path) -> None:
    shutil.copy(root / UNET, root / "unet/diffusion_pytorch_model.non_ema.safetensors")


@pytest.mark.parametrize("change", [half_precision, fp16_files_only, sharded, with_projection, ema_files_beside])
def test_weights_in_any_form_load_in_single_precision(copy: Path, change: Callable[[Path], None]) -> None:
    change(copy)
    found, wanted = load_base(str(copy)), load_base(str(BUNDLED))
    for part in ("unet", "text_encoder"):
        assert {weight.dtype for weight in getattr(found, part).parameters()} == {torch.float32}
    states = [encode_text(base, ["a red cube on a blue floor"]) for base in (found, wanted)]
    assert torch.allclose(*states, atol=1e-2)
    weights = zip(found.unet.parameters(), wanted.unet.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=2e-3) for a, b in weights)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_in("unet/config.json", in_channels=25), r"unet: an inpainting U-Net \(25 input channels\) does not fit"),
        (set_in("unet/config.json", in_channels=24), "unet: 24 input and 12 output channels, and the VAE has 12"),
        (set_in("unet/config.json", addition_embed_type="text_time"), r"unet: a U-Net \(SDXL's\) with addition_embed"),
        (set_in("unet/config.json", num_class_embeds=1000), "unet: a U-Net with num_class_embeds 1000 does not fit"),
        *(
            (set_in("unet/config.json", **{name: value}), rf"unet: a U-Net with {name} .* does not fit: no ControlNet")
            for name, value in {
                "time_cond_proj_dim": 64,  # as distilled models have
                "mid_block_type": None,
                "cross_attention_dim": [64, 64, 64],
                "layers_per_block": [1, 1, 1],
                "timestep_post_act": "silu",
            }.items()
        ),
        (set_in("unet/config.json", _class_name="SD3Transformer2DModel"), "unet: a SD3Transformer2DModel does not fit"),
        (set_in("unet/config.json", cross_attention_dim=96), "reads text states of width 96 .* encoder writes 64"),
        (set_in("vae/config.json", _class_name="VQModel"), "vae: a VQModel does not fit; a base has an AutoencoderKL"),
        (set_in("vae/config.json", patch_size=4), "unet: 12 input and 12 output channels, and the VAE has 48"),
        (set_in("text_encoder/config.json", model_type="t5", architectures=["T5EncoderModel"]), "a T5EncoderModel"),
        (set_in("text_encoder/config.json", vocab_size=100), "embedding.weight of .196, 64. instead of .100, 64."),
        (set_in("unet/config.json", block_out_channels=[16, 32, 48]), "weights do not fit its config.json, the first"),
        (schedule(prediction_type="flow_prediction"), "prediction_type 'flow_predic"),
        (schedule(num_train_timesteps=4000), "num_train_timesteps 4000 does not fit"),
        (
            schedule(prediction_type="epsilon"),
            "zero_snr, .* not fit .* 'epsilon'",
        ),
        (schedule(beta_schedule="exp"), "beta_schedule 'exp' does not fit"),
        *(
            (schedule(trained_betas=betas), "trained_betas does not fit; .* 1000 numb")
            for betas in ([0.1] * 10, [], ["a"] * 1000, [[0.1]] * 1000, [0.01] * 999 + [1.1], 0.1)
        ),
        (schedule(trained_betas=[0.5, 1.0] * 500), "the signal does not fall"),
        (schedule(beta_start=1e-12), "the signal does not fall"),
        (
            schedule(trained_betas=ENDING, prediction_type="epsilon", rescale_betas_zero_snr=False),
            "zero_snr, or trained_betas that do the same, does not fit .* 'epsilon'",
        ),
        (schedule(beta_start=-0.1), r"scheduler: beta_start -0\.1 does not fit"),
        (schedule(beta_end=float("nan")), "scheduler: beta_end nan does not fit"),
        (schedule(beta_end=0.9), r"scheduler_config\.json: the signal does not fall"),
        (schedule(_class_name="FlowMatchEulerDiscreteScheduler"), "of FlowMatchEuler"),
        (lambda root: (root / "text_encoder_2").mkdir(), "SDXL, with two text encoders, does not fit"),
        (lambda root: (root / "unet/config.json").unlink(), r"unet/config\.json: missing"),
        (lambda root: (root / "unet/config.json").write_text("{"), r"unet/config\.json: not readable"),
        (lambda root: (root / "unet/config.json").write_text("[]"), r"unet/config\.json: not an object of settings"),
        (lambda root: (root / "tokenizer/tokenizer.json").unlink(), "tokenizer: neither tokenizer.json nor vocab.json"),
        (lambda root: (root / UNET).unlink(), "unet: no weights; download it again"),
        (lambda root: (root / UNET).write_bytes(b"{}"), "not readable"),
        *(
            (lambda root, name=name: (root / UNET).rename(root / "unet" / name), rf"_model\.safetensors, only {name};")
            for name in ("diffusion_pytorch_model.non_ema.safetensors", "model.safetensors", "pruned.fp16.safetensors")
        ),
        (lambda root: (root / UNET).rename(root / "unet/model.bin"), r"unet: only pickled weights \(model\.bin\)"),
    ],
)
def test_a_base_that_does_not_fit_is_named(copy: Path, change: Callable[[Path], Any], said: str) -> None:
    change(copy)
    with pytest.raises(UsdError, match=said) as raised:
        load_base(str(copy))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_whatever_a_control_branch_does_not_copy_is_refused() -> None:
    """The decoder is not copied, and class labels are refused by their own settings."""
    other = {"sample_size", "out_channels", "up_block_types", "reverse_transformer_layers_per_block", "conv_out_kernel"}
    known = inspect.signature(UNet2DConditionModel.__init__).parameters
    handed_on = inspect.getsource(ControlNetModel.from_unet)
    lost = {name for name in known if f"unet.config.{name}" not in handed_on} - {"self", "dropout", *other}
    assert lost - {"class_embeddings_concat"} == COPIED.keys()
    assert all(known[name].default == value for name, value in COPIED.items())


@pytest.mark.parametrize("part", ["vae", "unet", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_component_is_named(copy: Path, part: str) -> None:
    shutil.rmtree(copy / part)
    with pytest.raises(UsdError, match=f"component '{part}/' is missing"):
        load_base(str(copy))


@pytest.mark.parametrize("name", ["unet", "text_encoder"])
def test_missing_weights_and_shards_are_named(copy: Path, name: str) -> None:
    path = next((copy / name).glob("*.safetensors"))
    weights = load_file(path)
    gone = sorted(weights)[0]
    save_file({key: weight for key, weight in weights.items() if key != gone}, path, {"format": "pt"})
    with pytest.raises(UsdError, match=rf"{name}: missing weights: 1, the first is .*{gone.split('.')[-2]}"):
        load_base(str(copy))


def test_a_missing_shard_is_named(copy: Path) -> None:
    sharded(copy)
    next((copy / "unet").glob("*-00002-of-*.safetensors")).unlink()
    with pytest.raises(UsdError, match=r"shard \S+-00002-of-\S+ is missing"):
        load_base(str(copy))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("models/nowhere", "models/nowhere: no such directory"),
        ("./nowhere", "no such directory"),
        ("nowhere", "no such directory"),
        ("somebody/stable-diffusion", "the hub cannot be reached; give a base as a directory, or download it first"),
    ],
)
def test_a_base_that_is_not_there_is_named(name: str, said: str) -> None:
    with pytest.raises(UsdError, match=said):
        load_base(name)


def test_a_hub_without_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise httpx.ConnectError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", unreachable)
    with pytest.raises(UsdError, match="the hub cannot be reached; give a base as a directory"):
        load_base("somebody/stable-diffusion")


def test_the_digest_is_that_of_weights_and_settings_alone(base, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = load_base(str(ROOT / "models/base")), base.digest()
    one.unet.register_to_config(_use_default_values=["dropout", "center_input_sample"])  # in the order of a set
    one.text_encoder.config._name_or_path = "elsewhere"
    monkeypatch.setattr("transformers.configuration_utils.__version__", "1.0")
    assert one.digest() == other
    one.unet.register_to_config(sample_size=8)
    assert one.digest() != other


@pytest.mark.parametrize(
    ("card", "wanted"),
    [
        (None, Origin("base", "other", "unknown")),
        ("# A base\n", Origin("base", "other", "unknown")),
        ("---\nlicense: [\n---\n# Broken\n", Origin("base", "other", "unknown")),
        ("---\nlicense: creativeml-openrail-m\n---\n# A base\n", Origin("base", "creativeml-openrail-m")),
        ("---\nlicense: other\nlicense_name: my-terms\nlicense_link: LICENSE.md\n---\n",
         Origin("base", "other", "my-terms", "LICENSE.md")),
    ],
)  # fmt: skip
def test_the_licence_is_the_cards(tmp_path: Path, card: str | None, wanted: Origin) -> None:
    (tmp_path / "base").mkdir()
    if card is not None:
        (tmp_path / "base/README.md").write_text(card)
    assert origin_of(str(tmp_path / "base")) == wanted


def test_the_page_downloads_what_a_training_reads() -> None:
    """The patterns of `hf download` in docs/own-base.md, applied to the names that such a repository has."""
    (words,) = [command.words for command in commands() if command.words[:2] == ("hf", "download")]
    options = list(itertools.pairwise(words))
    wanted, left = ([value for option, value in options if option == name] for name in ("--include", "--exclude"))
    kinds = ("", ".fp16", ".non_ema")
    weights = [f"unet/diffusion_pytorch_model{kind}.{end}" for kind in kinds for end in ("bin", "safetensors")]
    weights += [f"{part}/model{kind}.safetensors" for part in ("text_encoder", "safety_checker") for kind in kinds]
    settings = ["README.md", "model_index.json", "tokenizer/merges.txt", "unet/config.json"]
    names = [*settings, "v1-5-pruned.ckpt", "v1-5-pruned.safetensors", *weights]
    found = filter_repo_objects(names, allow_patterns=wanted, ignore_patterns=left)
    read = ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]
    assert list(found) == settings + read


def test_the_base_is_named_by_its_id_where_it_comes_from_the_hub(tmp_path: Path) -> None:
    folder = tmp_path / "models--somebody--stable-diffusion/snapshots/abc"
    folder.mkdir(parents=True)
    found = origin_of(str(folder))
    assert found.front_matter() == {
        "base_model": "somebody/stable-diffusion",
        "license": "other",
        "license_name": "unknown",
    }
    (tmp_path / "somebody--stable-diffusion").mkdir()  # as docs/own-base.md downloads it
    assert origin_of(str(tmp_path / "somebody--stable-diffusion")).base_model == "somebody/stable-diffusion"
    assert origin_of(str(BUNDLED)).front_matter() == {"license": "mit"}

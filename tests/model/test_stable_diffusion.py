"""A base in the layout and classes of Stable Diffusion 1.5, but tiny: it trains and is called like the bundled one."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import AutoencoderKL, ControlNetModel, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from tests.conftest import ROOT, draw_into, pipeline_of, write_annotators
from usd import config
from usd.config.profiles import apply
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.errors import UsdError
from usd.inference.pipeline import USDiffusionPipeline
from usd.model.base import load_base
from usd.model.untrained import fit_tokenizer
from usd.training.finetune import finetune, new_denoiser
from usd.training.variant import Run

pytestmark = pytest.mark.slow

WIDTHS = (32, 32, 64, 64)
PARAMS = config.load(ROOT / "params.yaml")
US_DIFFUSION = dataclasses.replace(PARAMS.variants["us_diffusion"], self_estimates=0.0)  # as profiles/sd15.yaml says


@pytest.fixture(scope="module")
def stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny Stable Diffusion 1.5, with what its own has beside the parts we read."""
    root = tmp_path_factory.mktemp("stable-diffusion")
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, cross_attention_dim=32, block_out_channels=WIDTHS, layers_per_block=2, attention_head_dim=8
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=WIDTHS,
        latent_channels=4,
        scaling_factor=0.18215,
    )
    tokenizer = fit_tokenizer(["a red cube on a blue floor", "left or right", "depth map", "segmentation map"])
    words = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    ).save_pretrained(root / "scheduler")
    unet.save_pretrained(root / "unet")
    vae.save_pretrained(root / "vae")
    CLIPTextModel(words).save_pretrained(root / "text_encoder")
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (root / "tokenizer").mkdir()
    (root / "tokenizer/vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (root / "tokenizer/merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (root / "tokenizer/tokenizer_config.json").write_text(
        '{"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}'
    )
    (root / "feature_extractor").mkdir()
    (root / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline", "safety_checker": [null, null]}')
    return root


@pytest.fixture
def params(stable_diffusion: Path, tmp_path: Path) -> config.Train:
    """The paper's profile with few steps."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    apply(ROOT / "profiles/sd15.yaml", tmp_path / "params.yaml")
    few = {"steps": 3, "checkpoint_every": 1, "log_every": 1, "workers": 0, "precision": "no"}
    few["gradient_accumulation_steps"] = 1
    train = config.load(tmp_path / "params.yaml").train
    return dataclasses.replace(train, base=str(stable_diffusion), **few)


@pytest.mark.parametrize(
    ("unlock", "kind", "precision"), [("none", "epsilon", "no"), ("decoder", "v_prediction", "bf16")]
)
def test_it_trains_and_is_called(
    inside_tiny: Path, params: config.Train, tmp_path: Path, unlock: str, kind: str, precision: Any
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # a process keeps one precision
    params = dataclasses.replace(params, unlock=unlock, optimizer="adamw_8bit", precision=precision)
    annotators = write_annotators(tmp_path / "annotators")
    base = load_base(params.base)
    base.scheduler.register_to_config(prediction_type=kind)
    before = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    noised = []
    add_noise = base.scheduler.add_noise
    base.scheduler.add_noise = lambda x_0, *rest: (noised.append(x_0.dtype), add_noise(x_0, *rest))[1]
    shards, accelerator = Shards.open("shards"), accelerator_for(params.device, params.precision)
    denoiser, curve = finetune(base, annotators, shards, params, US_DIFFUSION, tmp_path / "run", accelerator)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert set(noised) == {torch.float32}  # in bf16, 1 - ᾱ would be 0 for small t
    assert [row["step"] for row in curve] == [1, 2, 3]
    changed = {name for name, weight in base.unet.state_dict().items() if not torch.equal(weight, before[name])}
    assert bool(changed) == (unlock == "decoder")
    assert not any(name.startswith(("down_blocks", "mid_block")) for name in changed)
    pipeline_of(base, denoiser).save_pretrained(tmp_path / "model")
    pipeline = USDiffusionPipeline.from_pretrained(tmp_path / "model")
    assert pipeline.scheduler.config.prediction_type == kind
    pictures = torch.rand(3, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = pipeline(
        (pictures[0], pictures[1]),
        pictures[2],
        "depth map",
        num_inference_steps=2,
        guidance_scale=9.0,
        output_type="pt",
    ).images
    assert images.shape == (1, 3, 64, 64)
    assert torch.isfinite(images).all()


def test_a_model_is_called_at_the_size_that_it_was_trained_at(
    params: config.Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The U-Net halves 96 pixels, 12 latents, to an odd number."""
    draw_into(tmp_path, {"image_size": 96, "train": 6, "val": 4, "test": 2})
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state(reset_partial_state=True)
    few = dataclasses.replace(params, steps=1, preview_every=1)
    settings = dataclasses.replace(US_DIFFUSION, feedback_weight=0.0)
    Run("us_diffusion", "train", settings, few, Shards.open("shards"), None, Path("run")).train(
        Path("model"), Path("curve.csv")
    )
    pipeline = USDiffusionPipeline.from_pretrained("model")
    picture, wide = PIL.Image.new("RGB", (96, 96)), torch.rand(1, 3, 72, 104)
    assert pipeline((picture, picture), picture).images[0].size == (96, 96)
    assert pipeline((wide, wide), wide, output_type="pt").images.shape == wide.shape


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_it_starts_from_a_trained_control_net(
    stable_diffusion: Path, params: config.Train, tmp_path: Path, variant: str | None
) -> None:
    base = load_base(str(stable_diffusion)).freeze()
    trained = ControlNetModel.from_unet(base.unet)
    torch.nn.init.normal_(trained.controlnet_down_blocks[0].weight)
    trained.save_pretrained(tmp_path / "control", variant=variant)
    params = dataclasses.replace(params, warm_start=str(tmp_path / "control"))
    control = new_denoiser(base, US_DIFFUSION, params).control
    assert torch.equal(control.controlnet_down_blocks[0].weight, trained.controlnet_down_blocks[0].weight)


def test_it_starts_from_prompt_diffusion_in_either_layout(
    stable_diffusion: Path, params: config.Train, tmp_path: Path
) -> None:
    base = load_base(str(stable_diffusion)).freeze()
    trained = ControlNetModel.from_unet(base.unet, conditioning_channels=6)
    torch.nn.init.normal_(trained.controlnet_mid_block.weight)
    weights = {name: weight.clone() for name, weight in trained.state_dict().items()}
    query = {
        name.replace("cond", "query_cond", 1): weight.clone()
        for name, weight in weights.items()
        if name.startswith("controlnet_cond_embedding")
    }
    trained.save_pretrained(tmp_path / "diffusers")
    save_file(weights | query, tmp_path / "diffusers/diffusion_pytorch_model.safetensors", {"format": "pt"})
    learned = {name: weight for name, weight in weights.items() if not name.startswith("controlnet_cond_embedding")}
    original = {f"control_model.{original_name(name)}": weight for name, weight in learned.items()}
    original |= {f"control_model.input_{of}_block.0.weight": torch.zeros(1) for of in ("hint", "cond")}
    save_file(original, tmp_path / "original.safetensors")
    for source in ("diffusers", "original.safetensors"):
        warm = dataclasses.replace(params, warm_start=str(tmp_path / source))
        found = new_denoiser(base, US_DIFFUSION, warm).control.state_dict()
        assert all(torch.equal(weight, weights[name]) for name, weight in found.items())


def original_name(name: str) -> str:
    """The name that a ControlNet's weight has in the original repositories."""
    inner = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
    match name.split("."):
        case ["conv_in", kind]:
            return f"input_blocks.0.0.{kind}"
        case ["time_embedding", layer, kind]:
            return f"time_embed.{0 if layer == 'linear_1' else 2}.{kind}"
        case ["controlnet_down_blocks", number, kind]:
            return f"zero_convs.{number}.0.{kind}"
        case ["controlnet_mid_block", kind]:
            return f"middle_block_out.0.{kind}"
        case ["down_blocks", block, "downsamplers", _, _, kind]:
            return f"input_blocks.{3 * int(block) + 3}.0.op.{kind}"
        case ["down_blocks", block, "resnets", layer, part, *rest]:
            return ".".join([f"input_blocks.{3 * int(block) + int(layer) + 1}.0", inner[part], *rest])
        case ["down_blocks", block, "attentions", layer, *rest]:
            return ".".join([f"input_blocks.{3 * int(block) + int(layer) + 1}.1", *rest])
        case ["mid_block", "resnets", layer, part, *rest]:
            return ".".join([f"middle_block.{2 * int(layer)}", inner[part], *rest])
        case ["mid_block", "attentions", _, *rest]:
            return ".".join(["middle_block.1", *rest])
    raise AssertionError(name)


def test_what_is_no_control_net_is_refused(stable_diffusion: Path, params: config.Train, tmp_path: Path) -> None:
    base = load_base(str(stable_diffusion)).freeze()
    pickled = tmp_path / "network.ckpt"
    torch.save({"control_model.time_embed.0.weight": torch.zeros(1)}, pickled)
    with pytest.raises(UsdError, match=r"warm_start: .*network.ckpt .*save a pickled checkpoint as .safetensors first"):
        new_denoiser(base, US_DIFFUSION, dataclasses.replace(params, warm_start=str(pickled)))
    shutil.copytree(stable_diffusion / "unet", tmp_path / "damaged")
    (tmp_path / "damaged/config.json").write_text('{"_class_name": "ControlNetModel", "block_out_channels": null}')
    with pytest.raises(UsdError, match=r"warm_start: .*damaged is not a ControlNet that fits"):
        new_denoiser(base, US_DIFFUSION, dataclasses.replace(params, warm_start=str(tmp_path / "damaged")))
    params = dataclasses.replace(params, warm_start=str(stable_diffusion / "unet"))
    with pytest.raises(UsdError, match=r"warm_start: .*unet is not a ControlNet that fits"):
        new_denoiser(base, US_DIFFUSION, params)

"""What a base must be to be trained here, checked from its small files before any weights are read."""

import json
from pathlib import Path
from typing import Any

from diffusers import DDIMScheduler

from usd.errors import UsdError
from usd.files import read_json
from usd.model.source import name_of_weights

COMPONENTS = ("vae", "unet", "text_encoder", "tokenizer", "scheduler")
NO_SIGNAL = (
    "rescale_betas_zero_snr, or trained_betas that do the same, does not fit prediction_type 'epsilon': at the last "
    "timestep, where no signal is left, ε does not say what x_0 is"
)
PREDICTIONS = ("epsilon", "sample", "v_prediction")
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
TIMESTEPS = 1000
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
EXTRA_INPUTS = {  # settings of U-Nets that want more than x_t, t and text
    "class_embed_type": "it wants class labels, as upscalers and unCLIP do",
    "num_class_embeds": "it wants class labels, as upscalers do",
    "encoder_hid_dim_type": "it wants image embeddings, as Kandinsky does",
}
COPIED = {  # settings that `ControlNetModel.from_unet` does not hand on: the values of its copy
    "center_input_sample": False,
    "conv_in_kernel": 3,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "addition_embed_type_num_heads": 64,
    "attention_type": "default",
    "dual_cross_attention": False,
    "cross_attention_norm": None,
    "mid_block_only_cross_attention": None,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
}
MIDDLES = ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D")


def check_base(root: Path) -> None:
    """Check that all parts are there, of kinds that fit together.

    Raises:
        UsdError: a part is missing, of another kind, or does not fit another part.
    """
    for part in COMPONENTS:
        if not (root / part).is_dir():
            raise UsdError(f"{root}: component '{part}/' is missing; a base has {', '.join(COMPONENTS)}")
    if (root / "text_encoder_2").is_dir():
        raise UsdError(
            f"{root}: SDXL, with two text encoders, does not fit; use a base like Stable Diffusion 1.5 or 2.1"
        )
    vae, unet, text = (_settings(root, part) for part in ("vae", "unet", "text_encoder"))
    _check_vae(root, vae)
    _check_unet(root, unet, vae)
    _check_text(root, text, unet)
    _check_scheduler(root, _settings(root, "scheduler", "scheduler_config.json"))
    _check_tokenizer(root / "tokenizer")


def stored_variant(folder: Path) -> str | None:
    """The variant to load a component's weights in: None where there are plain ones, else such as `fp16`.

    Raises:
        UsdError: there are no safetensors of the names that diffusers loads, or a shard of them is missing.
    """
    names = sorted(path.name for path in folder.iterdir())
    weights = [name for name in names if name.endswith(".safetensors")]
    if not weights:
        pickled = [name for name in names if name.endswith(PICKLES)]
        remedy = "load it in diffusers and save it with safe_serialization=True" if pickled else "download it again"
        kind = f"only pickled weights ({pickled[0]}), which are not loaded" if pickled else "no weights"
        raise UsdError(f"{folder}: {kind}; {remedy}")
    named = "model" if folder.name == "text_encoder" else "diffusion_pytorch_model"
    variants = sorted({variant for part, variant in map(name_of_weights, weights) if part == named} - {"non_ema"})
    if not variants:
        found = ", ".join(weights[:3]) + (", …" if weights[3:] else "")
        remedy = "download it, or give its name to the weights that you want"
        raise UsdError(f"{folder}: no {named}.safetensors, only {found}; {remedy}")
    variant = next((each for each in ("", "fp16") if each in variants), variants[0])
    end = ".".join(("index", variant, "json") if variant else ("index", "json"))
    for index in (folder / name for name in names if name.endswith(f".safetensors.{end}")):
        for shard in sorted(set(read_settings(index).get("weight_map", {}).values())):
            if shard not in names:
                raise UsdError(f"{folder}: shard {shard} is missing, which {index.name} names; download it again")
    return variant or None


def _check_vae(root: Path, vae: dict[str, Any]) -> None:
    kind = vae.get("_class_name")
    if kind not in ("PatchCodec", "AutoencoderKL"):
        raise UsdError(f"{root}/vae: a {kind} does not fit; a base has an AutoencoderKL")
    if vae.get("shift_factor"):
        raise UsdError(f"{root}/vae: its latents are shifted (shift_factor), as Stable Diffusion 3's, which do not fit")


def _check_unet(root: Path, unet: dict[str, Any], vae: dict[str, Any]) -> None:
    kind, channels, where = unet.get("_class_name"), unet.get("in_channels", 4), f"{root}/unet"
    if kind != "UNet2DConditionModel":
        raise UsdError(f"{where}: a {kind} does not fit; a base has a UNet2DConditionModel")
    embedding = unet.get("addition_embed_type")
    if embedding not in (None, "text"):
        named = " (SDXL's)" if embedding == "text_time" else ""
        raise UsdError(
            f"{where}: a U-Net{named} with addition_embed_type '{embedding}' does not fit: it wants more "
            "than x_t, t and text; use a base like Stable Diffusion 1.5 or 2.1"
        )
    for setting, reason in EXTRA_INPUTS.items():
        if unet.get(setting) is not None:
            raise UsdError(f"{where}: a U-Net with {setting} {unet[setting]!r} does not fit: {reason}")
    _check_copy(where, unet)
    patches = vae.get("patch_size", 2)
    latents = 3 * patches**2 if vae["_class_name"] == "PatchCodec" else vae.get("latent_channels", 4)
    if channels == 2 * latents + 1:
        raise UsdError(
            f"{where}: an inpainting U-Net ({channels} input channels) does not fit; use the base that it was made from"
        )
    if channels != latents or unet.get("out_channels", 4) != latents:
        found = f"{channels} input and {unet.get('out_channels', 4)} output channels"
        raise UsdError(f"{where}: {found}, and the VAE has {latents} latent channels; all three must be equal")


def _check_copy(where: str, unet: dict[str, Any]) -> None:
    """The control branch is a copy of the encoder and the middle, which a ControlNet must be able to hold."""
    unlike = [name for name, value in COPIED.items() if unet.get(name) not in (None, value)]
    unlike += [name for name in ("layers_per_block", "cross_attention_dim") if isinstance(unet.get(name), list)]
    unlike += ["mid_block_type"] if unet.get("mid_block_type", MIDDLES[0]) not in MIDDLES else []
    for name in unlike[:1]:
        found = json.dumps(unet[name])
        raise UsdError(f"{where}: a U-Net with {name} {found} does not fit: no ControlNet can be a copy of its encoder")


def _check_text(root: Path, text: dict[str, Any], unet: dict[str, Any]) -> None:
    kind = text.get("model_type", "unknown")
    if kind not in ("clip_text_model", "clip"):
        name = (text.get("architectures") or [kind])[0]
        raise UsdError(f"{root}/text_encoder: a {name} does not fit; a base has a CLIPTextModel")
    width = (text.get("text_config") or text).get("hidden_size", 512)
    wanted = unet.get("cross_attention_dim", 1280)
    if wanted != width:
        raise UsdError(
            f"{root}: the U-Net reads text states of width {wanted} (cross_attention_dim), and the text "
            f"encoder writes {width} (hidden_size); take both from one base"
        )


def _check_scheduler(root: Path, scheduler: dict[str, Any]) -> None:
    where, kind = f"{root}/scheduler", str(scheduler.get("_class_name"))
    prediction = scheduler.get("prediction_type", "epsilon")
    if kind.startswith(("FlowMatch", "EDM", "KarrasVe", "ScoreSde")):
        raise UsdError(f"{where}: the noise schedule of {kind} does not fit; a base is trained with DDPM's")
    if prediction not in PREDICTIONS:
        raise UsdError(f"{where}: prediction_type '{prediction}' does not fit; expected {', '.join(PREDICTIONS)}")
    if prediction == "epsilon" and scheduler.get("rescale_betas_zero_snr"):
        raise UsdError(f"{where}: {NO_SIGNAL}")
    steps = scheduler.get("num_train_timesteps", TIMESTEPS)
    if steps != TIMESTEPS:
        raise UsdError(f"{where}: num_train_timesteps {steps} does not fit; ESS lists are of {TIMESTEPS}")
    schedule, betas = scheduler.get("beta_schedule", "linear"), scheduler.get("trained_betas")
    if betas is not None and not (isinstance(betas, list) and len(betas) == TIMESTEPS and all(map(_is_beta, betas))):
        raise UsdError(f"{where}: trained_betas does not fit; it is null, or {TIMESTEPS} numbers above 0 and up to 1")
    for name in ("beta_start", "beta_end") if betas is None else ():
        if name in scheduler and not _is_beta(scheduler[name]):
            raise UsdError(f"{where}: {name} {scheduler[name]!r} does not fit; it is a number above 0 and up to 1")
    if schedule not in SCHEDULES and betas is None:
        raise UsdError(f"{where}: beta_schedule '{schedule}' does not fit; expected {', '.join(SCHEDULES)}")


def _is_beta(value: Any) -> bool:
    return type(value) is float and 0 < value <= 1


def check_signal(where: Path, scheduler: DDIMScheduler) -> None:
    """Check the schedule that the settings make, in single precision.

    Raises:
        UsdError: an image keeps as much signal (ᾱ_t) at one timestep as at the one before, or is whole at the first; or
            none is left at the last, and the base predicts ε.
    """
    signal = scheduler.alphas_cumprod
    if not (signal.diff(prepend=signal.new_ones(1)) < 0).all():
        keys = "beta_start and beta_end, or trained_betas"
        raise UsdError(f"{where}: the signal does not fall at every timestep; correct {keys}, or download it again")
    if signal[-1] == 0 and scheduler.config.prediction_type == "epsilon":
        raise UsdError(f"{where}: {NO_SIGNAL}")


def _check_tokenizer(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise UsdError(f"{folder}: neither tokenizer.json nor vocab.json and merges.txt are there")
    path = folder / "tokenizer_config.json"
    longest = read_settings(path).get("model_max_length") if path.exists() else None
    if longest is not None and not (type(longest) in (int, float) and longest > 2):
        raise UsdError(f"{path}: model_max_length {longest!r} does not fit; it is a number of tokens")


def _settings(root: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    path = root / part / name
    if not path.is_file():
        raise UsdError(f"{path}: missing; download the base again, all of {part}/")
    return read_settings(path)


def read_settings(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a base or a model.

    Raises:
        UsdError: it is not readable, or holds something else.
    """
    found: Any = read_json(path, "download it again")
    if not isinstance(found, dict):
        raise UsdError(f"{path}: not an object of settings; download it again")
    return found

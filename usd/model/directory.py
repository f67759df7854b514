"""A complete model directory: the base in diffusers' layout, and beside it `control/` and `adapter/`.

    vae/ unet/ text_encoder/ tokenizer/ scheduler/ control/ adapter/ model_index.json

`USDiffusionPipeline.from_pretrained` loads it. Trainings write it here, so that they do not depend on the pipeline.
"""

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import __version__
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from usd.errors import UsdError
from usd.model.adapter import InContextAdapter
from usd.model.base import Base, load_base, load_schedule, save_base
from usd.model.control import ControlBranch, Denoiser, channels_last
from usd.model.requirements import COMPONENTS, TIMESTEPS, check_base, read_settings, stored_variant
from usd.model.source import local_copy, one_line_errors
from usd.model.weights import check_finite

INDEX = "model_index.json"
PARTS = (*COMPONENTS, "control", "adapter")


def save_model(root: Path, base: Base, denoiser: Denoiser, sampling: Mapping[str, Any]) -> None:
    """Write base, control branch and adapter, weights as safetensors.

    `sampling` is what a call does by default: `{"image2map": {"timesteps": [998], "guidance_scale": 1.0}, …}`.
    """
    save_base(base, root)
    denoiser.control.save_pretrained(root / "control")
    denoiser.adapter.save_pretrained(root / "adapter")
    parts = {part: getattr(base, part) for part in COMPONENTS}
    parts |= {"control": denoiser.control, "adapter": denoiser.adapter}
    index = {"_class_name": "USDiffusionPipeline", "_diffusers_version": __version__, "sampling": sampling}
    index |= {name: _origin(part) for name, part in parts.items()}
    (root / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def halve(root: Path) -> None:
    """Store the weights of a model directory in half precision. They are loaded in single precision again."""
    for path in root.rglob("*.safetensors"):
        weights = {name: weight.half() for name, weight in load_file(path).items()}
        save_file(weights, path, {"format": "pt"})


def set_sampling(root: Path, sampling: Mapping[str, Any]) -> None:
    """Change what a call of a model directory does by default; see `save_model`."""
    index = json.loads((root / INDEX).read_text()) | {"sampling": sampling}
    (root / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def load_model(root: Path) -> tuple[Base, Denoiser]:
    """Read a directory written by `save_model`.

    Raises:
        UsdError: something is missing, unreadable or not finite; pickled weights are not loaded.
    """
    root = model_directory(str(root))
    base = load_base(str(root))
    with one_line_errors(root):
        control, adapter = (
            kind.from_pretrained(root / name, use_safetensors=True, variant=stored_variant(root / name))
            for name, kind in (("control", ControlBranch), ("adapter", InContextAdapter))
        )
    check_weights(root, {"control": control, "adapter": adapter})
    for name, part in (("control", control), ("adapter", adapter)):
        check_finite(root / name, part)
    denoiser = Denoiser(base.unet, control, adapter).eval()
    channels_last(denoiser)
    return base, denoiser


def check_weights(root: Path, parts: Mapping[str, Any]) -> None:
    """Refuse a model whose files lack weights of its parts; diffusers and transformers would draw them at random.

    Raises:
        UsdError: weights are missing; it names the first.
    """
    for name, part in parts.items():
        if not isinstance(part, nn.Module):
            continue
        wanted = set(part.state_dict())
        for path in (root / name).glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                wanted -= set(file.keys())
        if wanted:
            first = f"missing weights: {len(wanted)}, the first is {min(wanted)}"
            raise UsdError(f"{root / name}: {first}; run `dvc repro train`, or download the model again")


def is_model(root: Path) -> bool:
    """Whether this is a whole model, as `save_model` writes it, and not a base or a control branch alone."""
    return (root / "adapter").is_dir()


def only_variant(root: Path) -> str | None:
    """The variant, such as `fp16`, of which alone a model has some of its weights; None where all are plain."""
    parts = [root / name for name in PARTS if any((root / name).glob("*.safetensors"))]
    return next(filter(None, map(stored_variant, parts)), None)


def model_directory(
    path: str, revision: str | None = None, token: str | None = None, variant: str | None = None
) -> Path:
    """The directory of a trained model: `path` itself, or the copy of a repository of the hub.

    Of the weights there, those of the variant are fetched, if there are any.

    Raises:
        UsdError: there is none, or a part of it is missing or does not fit.
    """
    root = local_copy(path, "a model", PARTS, revision, token, variant)
    if missing := [name for name in ("control", "adapter") if not (root / name).is_dir()]:
        parts = " and ".join(f"{name}/" for name in missing)
        raise UsdError(f"{path}: no trained model ({parts} missing); run `dvc repro train`")
    if missing := [name for name in (*COMPONENTS, INDEX) if not (root / name).exists()]:
        raise UsdError(f"{path}: an incomplete model ({', '.join(missing)} missing); run `dvc repro train`")
    with one_line_errors(root):
        check_base(root)
        load_schedule(root / "scheduler")
    _check_sampling(root / INDEX)
    return root


def _check_sampling(path: Path) -> None:
    """What a call does by default, if the index says so, must be lists of timesteps and guidance scales."""
    sampling = read_settings(path).get("sampling")
    if sampling is None:
        return
    for direction in ("image2map", "map2image"):
        found = sampling.get(direction) if isinstance(sampling, dict) else sampling
        if not _is_sampling(found):
            wanted = f'{{"timesteps": [descending, below {TIMESTEPS}], "guidance_scale": a number}}'
            raise UsdError(f"{path}: sampling of {direction} is {json.dumps(found)[:100]}; expected {wanted}")


def _is_sampling(found: Any) -> bool:
    if not isinstance(found, dict) or not {"timesteps"} <= found.keys() <= {"timesteps", "guidance_scale"}:
        return False
    steps, scale = found["timesteps"], found.get("guidance_scale", 1)
    if not isinstance(steps, list) or not steps or not all(type(t) is int and 0 <= t < TIMESTEPS for t in steps):
        return False
    return type(scale) in (int, float) and 0 <= scale < math.inf and all(a > b for a, b in itertools.pairwise(steps))


def _origin(part: Any) -> list[str]:
    """Module and class as a model_index.json names them: of diffusers and transformers, the library alone."""
    module = type(part).__module__
    library = module.split(".")[0]
    return [library if library in ("diffusers", "transformers") else module, type(part).__name__]

"""A complete model directory: the base in diffusers' layout, and beside it `control/` and `adapter/`.

    vae/ unet/ text_encoder/ tokenizer/ scheduler/ control/ adapter/ model_index.json

`USDiffusionPipeline.from_pretrained` loads it. Trainings write it here, so that they do not depend on the pipeline.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import __version__
from safetensors import SafetensorError

from usd.errors import UsdError
from usd.model.adapter import InContextAdapter
from usd.model.base import COMPONENTS, Base, load_base, save_base
from usd.model.control import ControlBranch, Denoiser, channels_last

INDEX = "model_index.json"


def save_model(root: Path, base: Base, denoiser: Denoiser, sampling: Mapping[str, Any] | None = None) -> None:
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


def load_model(root: Path) -> tuple[Base, Denoiser]:
    """Read a directory written by `save_model`.

    Raises:
        UsdError: something is missing or unreadable; pickled weights are not loaded.
    """
    if not (root / "adapter").is_dir() or not (root / "control").is_dir():
        raise UsdError(f"{root}: no trained model (adapter/ and control/ are missing); run `dvc repro train`")
    base = load_base(str(root))
    control, adapter = (_load(kind, root / name) for name, kind in _OWN.items())
    denoiser = Denoiser(base.unet, control, adapter).eval()
    channels_last(denoiser)
    return base, denoiser


_OWN: dict[str, Any] = {"control": ControlBranch, "adapter": InContextAdapter}


def _load(kind: Any, root: Path) -> Any:
    try:
        return kind.from_pretrained(root, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsdError(f"{root}: not readable: {' '.join(str(error).split())[:300]}") from error


def _origin(part: Any) -> list[str]:
    """Module and class as a model_index.json names them: of diffusers and transformers, the library alone."""
    module = type(part).__module__
    library = module.split(".")[0]
    return [library if library in ("diffusers", "transformers") else module, type(part).__name__]

"""What `from_pretrained` is given, checked and completed before anything is loaded."""

from pathlib import Path
from typing import Any

import torch

from usd.errors import UsdError
from usd.model.directory import PARTS, model_directory, only_variant


def to_load(path: str, options: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The directory of a model, and the options with which diffusers loads it.

    Raises:
        UsdError: there is no such model, a part of it is missing or does not fit, or an option does not.
    """
    _check(options)
    options = dict(options)
    root = model_directory(path, options.pop("revision", None), options.pop("token", None), options.get("variant"))
    if not {"torch_dtype", "dtype"} & set(options):
        options["dtype"] = torch.float32  # text encoders would keep the precision that they are stored in
    options["variant"] = options.get("variant") or only_variant(root)
    return root, options | {"use_safetensors": True}


def _check(options: dict[str, Any]) -> None:
    for part in PARTS:
        if part in options and options[part] is None:
            raise UsdError(f"{part}: a model needs it; leave the option out to load the model's own")
    precision = options.get("torch_dtype", options.get("dtype"))
    if isinstance(precision, dict):
        unet, control = (precision.get(part, precision.get("default", torch.float32)) for part in ("unet", "control"))
        if unet != control:
            raise UsdError(f"dtype: unet in {unet} and control in {control} do not fit; give both the same")

"""What `from_pretrained` is given, checked and completed before anything is loaded."""

from pathlib import Path
from typing import Any

import torch

from usd.model.directory import model_directory, only_variant


def to_load(path: str, options: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The directory of a model, and the options with which diffusers loads it.

    Raises:
        UsdError: there is no such model, or a part of it is missing or does not fit.
    """
    options = dict(options)
    root = model_directory(path, options.pop("revision", None), options.pop("token", None), options.get("variant"))
    if not {"torch_dtype", "dtype"} & set(options):
        options["dtype"] = torch.float32  # text encoders would keep the precision that they are stored in
    options["variant"] = options.get("variant") or only_variant(root)
    return root, options | {"use_safetensors": True}

"""Weights that cannot be used, found where they are loaded: training on them would only say that its loss is off."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from usd.errors import UsdError, counted
from usd.model.requirements import stored_variant
from usd.model.source import variant_of


def check_finite(source: Path, module: nn.Module) -> None:
    """Refuse NaN and infinity in what was loaded from `source`, a folder or a file; half a second for 1e9 weights.

    Raises:
        UsdError: there are such weights; it names the first and its file.
    """
    wrong = [name for name, weight in module.state_dict().items() if not _finite(weight)]
    if wrong:
        found = counted(len(wrong), "weight is", "weights are")
        raise UsdError(
            f"{_file_of(source, wrong[0])}: {found} NaN or infinite, the first is {wrong[0]}; download it again, or "
            "repeat the merge or the training that made it"
        )


def _finite(weight: torch.Tensor) -> bool:
    if not weight.is_floating_point() or not weight.numel():
        return True
    return bool(torch.stack(weight.aminmax()).isfinite().all())  # NaN is its own smallest and largest number


def _file_of(source: Path, name: str) -> Path:
    """The file of a folder that holds this weight; `source` itself where none has that name."""
    for path in sorted(source.glob("*.safetensors")):
        if variant_of(path.name) == stored_variant(source):
            with safe_open(path, "pt") as file:
                if any(f".{key}".endswith(f".{name}") for key in list(file.keys())):
                    return path
    return source

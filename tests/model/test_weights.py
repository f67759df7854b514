"""Weights that are not finite are named where they are loaded, with their file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT
from tests.model.test_base import sharded
from usd.errors import UsdError
from usd.model.base import load_base
from usd.model.control import control_from_unet, warm_start
from usd.model.directory import load_model


def damage(folder: Path, value: float) -> str:
    """Set the last number of a weight in the folder's first file; returns what is to be said of it."""
    path = min(folder.glob("*.safetensors"))
    weights = load_file(path)
    name = min(name for name in weights if not name.startswith("controlnet_cond_embedding"))
    weights[name].view(-1)[-1] = value
    save_file(weights, path, {"format": "pt"})
    last = name.removeprefix("text_model.")  # as some versions of transformers call it
    return rf"{path}: 1 weight is NaN or infinite, the first is (text_model\.)?{last}; download it again, or repeat the"


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize(
    ("part", "prepare"), [("unet", None), ("text_encoder", None), ("unet", sharded)], ids=["unet", "text", "shards"]
)
def test_of_a_base(tmp_path: Path, part: str, prepare: Callable[[Path], None] | None, value: float) -> None:
    base = Path(shutil.copytree(ROOT / "models/base", tmp_path / "base"))
    if prepare is not None:
        prepare(base)
    said = damage(base / part, value)
    with pytest.raises(UsdError, match=f"^{said}"):
        load_base(str(base))


@pytest.mark.parametrize("part", ["control", "adapter"])
def test_of_a_model(tmp_path: Path, part: str) -> None:
    shutil.copytree(ROOT / "models/control", tmp_path / "model")
    said = damage(tmp_path / "model" / part, float("nan"))
    with pytest.raises(UsdError, match=f"^{said}"):
        load_model(tmp_path / "model")


def test_of_a_warm_start(base, tmp_path: Path) -> None:
    ControlNetModel.from_unet(base.unet).save_pretrained(tmp_path)
    said = damage(tmp_path, float("inf"))
    with pytest.raises(UsdError, match=f"^{said}"):
        warm_start(control_from_unet(base.unet), str(tmp_path))

from pathlib import Path

import pytest

from tests.conftest import ROOT
from usd import config
from usd.errors import UsdError
from usd.profiles import apply

TEXT = (ROOT / "params.yaml").read_text()


def test_the_committed_parameters_load() -> None:
    assert config.load(ROOT / "params.yaml").variants["us_diffusion"].timesteps == "ess"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  seed: 1\n  image_size: 64", "  sed: 1\n  image_size: 64", "render: unknown key 'sed'"),
        ("  image_size: 64\n", "", "render: key 'image_size' is missing"),
        ("  image_size: 64", "  image_size: big", "render: image_size: expected int, found 'big'"),
        ("timesteps: uniform", "timesteps: cosine", "cosine"),
        ("device: auto", "device: gpu", "'gpu' is not one of auto, cpu, cuda"),
        ("objects: [2, 5]", "objects: [5]", "render.objects: fewest and most"),
        ("ess_steps: [1, 3, 10]", "ess_steps: []", "evaluate: ess_steps: the list is empty"),
        ("ess_steps: [1, 3, 10]", "ess_steps: [0]", r"evaluate: ess_steps\[0\]: 0 is out of range; at least 1"),
        ("flip: 0.5", "flip: .nan", "train: flip: nan is out of range; at least 0 and at most 1"),
        ("image_size: 64", "image_size: 63", "render.image_size: 63 is no multiple of 8"),
        ("near: 1.2", "near: 20", "annotate.near: 20 must be less than annotate.far, 12"),
        ("  items: 48", "  items: 1", "evaluate: items: 1 is out of range; at least 2"),
        ("grid_items: 6", "grid_items: 17", "evaluate.grid_items: 17 rows need as many"),
        ("render:", "render", "not valid YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    (tmp_path / "params.yaml").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(UsdError, match=message):
        config.load(tmp_path / "params.yaml")


def test_a_profile_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsdError, match="Is a directory; profiles/ has those"):
        apply(tmp_path, ROOT / "params.yaml")
    (tmp_path / "profile.yaml").write_text("- train\n")
    with pytest.raises(UsdError, match=r"profile\.yaml: not a mapping"):
        apply(tmp_path / "profile.yaml", ROOT / "params.yaml")
    (tmp_path / "profile.yaml").write_text("train: {steps: {many: 1}}\n")
    with pytest.raises(UsdError, match="train: steps: expected int"):
        apply(tmp_path / "profile.yaml", ROOT / "params.yaml")

from pathlib import Path

import pytest

from tests.conftest import ROOT
from usd import config
from usd.errors import UsdError

TEXT = (ROOT / "params.yaml").read_text()


def test_the_committed_parameters_load() -> None:
    assert config.load(ROOT / "params.yaml").train.variants["us_diffusion"].timesteps == "ess"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  seed: 1\n  image_size: 64", "  sed: 1\n  image_size: 64", "render: unknown key 'sed'"),
        ("  image_size: 64\n", "", "render: key 'image_size' is missing"),
        ("  image_size: 64", "  image_size: big", "render: image_size: expected int, found 'big'"),
        ("timesteps: uniform", "timesteps: cosine", "cosine"),
        ("device: auto", "device: gpu", "'gpu' is not one of auto, cpu, cuda"),
        ("objects: [2, 5]", "objects: [5]", "render.objects: fewest and most"),
        ("render:", "render", "not valid YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    (tmp_path / "params.yaml").write_text(TEXT.replace(old, new, 1))
    with pytest.raises(UsdError, match=message):
        config.load(tmp_path / "params.yaml")

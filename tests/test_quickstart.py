"""docs/quickstart.py runs as it stands."""

from pathlib import Path

import PIL.Image
import pytest

from docs.quickstart import main
from usd.errors import UsdError
from usd.generation.files import model_of


def test_the_quickstart_runs(pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    main(tmp_path / "model", tmp_path / "out")
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == [f"{name}.png" for name in
                        ("depth-0", "depth-1", "depth", "euler", "image-0", "image-1", "unseen")]  # fmt: skip
    assert {PIL.Image.open(tmp_path / "out" / name).size for name in pictures} == {(64, 64)}
    assert capsys.readouterr().out.endswith("USDiffusionPipeline\n")


def test_the_model_is_ones_own_or_the_one_in_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsdError, match=r"neither models/us_diffusion nor models/reference is there; run `dvc pull` or"):
        model_of(None)
    for name in ("models/reference", "models/us_diffusion"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model_index.json").write_text("{}")
        assert model_of(None) == Path(name)
    assert model_of(Path("elsewhere")) == Path("elsewhere")

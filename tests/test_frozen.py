"""The frozen stages that make models, at tiny size: what they leave in git, and how to run one again."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT
from usd import config
from usd.annotators.small import PerceptionNet
from usd.config.profiles import change
from usd.inference.pipeline import USDiffusionPipeline
from usd.stages import control, reference

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny project with the bundled base and untrained annotators; trainings have two steps."""
    shutil.copytree(tiny / "shards", tmp_path / "shards")
    shutil.copytree(ROOT / "models/base", tmp_path / "models/base")
    shutil.copy(tiny / "params.yaml", tmp_path)
    (tmp_path / "annotators").mkdir()
    save_file(PerceptionNet([8, 16]).state_dict(), tmp_path / "annotators/model.safetensors")
    (tmp_path / "annotators/config.json").write_text('{"channels": [8, 16], "classes": 22}')
    monkeypatch.chdir(tmp_path)
    change({"control": {"steps": 2}, "reference": {"steps": 2}, "train": {"warmup": 1}})
    return tmp_path


def test_control_then_reference(project: Path) -> None:
    control.main("shards", Path("models/control"), Path("control.csv"), Path("runs/control"))
    annotators = Path("annotators")
    places = (Path("models/reference"), Path("results"), Path("reference.csv"), Path("runs/reference"))
    reference.main("shards", annotators, annotators, *places)
    root = project / "models/reference"
    for name in ("control", "reference"):
        assert f"trained by stage `{name}`" in (project / "models" / name / "README.md").read_text()
    stored = {weight.dtype for path in root.rglob("*.safetensors") for weight in load_file(path).values()}
    assert stored == {torch.float16}
    assert sum(path.stat().st_size for path in root.rglob("*")) < 20e6
    pipeline = USDiffusionPipeline.from_pretrained(root)
    assert pipeline.unet.dtype == torch.float32
    chosen = config.load().evaluate.steps
    assert {len(each["timesteps"]) for each in pipeline.config.sampling.values()} <= set(chosen)
    assert "| image → depth | RMSE / floor |" in (root / "README.md").read_text()
    assert Path("results/image2depth.png").exists()


def test_the_page_thaws_one_stage_and_freezes_it_again(tmp_path: Path) -> None:
    """`dvc unfreeze` refuses a dvc.yaml with `${…}` in it."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    thaw, freeze = re.findall(r"^(sed .*) +#", (ROOT / "docs/reproducibility.md").read_text(), re.MULTILINE)

    def frozen() -> set[str]:
        stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
        return {name for name, stage in stages.items() if stage.get("frozen")}

    before = frozen()
    subprocess.run(thaw, shell=True, cwd=tmp_path, check=True)
    assert frozen() == before - {"control"}
    subprocess.run(freeze, shell=True, cwd=tmp_path, check=True)
    assert frozen() == before

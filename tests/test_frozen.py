"""The frozen stages, at tiny size: what they leave in git, and how to run one again."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.conftest import ROOT
from usd import config
from usd.config.profiles import change
from usd.inference.pipeline import USDiffusionPipeline
from usd.stages import control, reference, study

pytestmark = pytest.mark.slow


FEW = {
    "control": {"steps": 2},
    "reference": {"steps": 2, "batch_size": 1},
    "train": {"warmup": 1, "ess_steps": 3},
    "study": {"step_counts": [1], "items": 2, "curve_items": 2},
    "evaluate": {"validation_items": 2, "unseen_items": 2, "guidance_scales": [1.0], "baseline_steps": 2},
}


def test_control_then_reference(trainable: Path) -> None:
    change([FEW])
    control.main("shards", Path("models/control"), Path("control.csv"), Path("runs/control"))
    annotators = Path("annotators")
    places = (Path("models/reference"), Path("results"), Path("reference.csv"), Path("runs/reference"))
    reference.main("shards", annotators, annotators, *places)
    root = trainable / "models/reference"
    for name in ("control", "reference"):
        assert f"trained by stage `{name}`" in (trainable / "models" / name / "README.md").read_text()
    stored = {weight.dtype for path in root.rglob("*.safetensors") for weight in load_file(path).values()}
    assert stored == {torch.float16}
    assert sum(path.stat().st_size for path in root.rglob("*")) < 20e6
    pipeline = USDiffusionPipeline.from_pretrained(root)
    assert pipeline.unet.dtype == torch.float32
    chosen = config.load().evaluate.step_counts
    assert {len(each["timesteps"]) for each in pipeline.config.sampling.values()} <= set(chosen)
    assert "| image → depth | RMSE / floor |" in (root / "README.md").read_text()
    assert Path("results/image2depth.png").exists()


def test_the_study_tables_every_variant_and_does_not_repeat_finished_runs(trainable: Path) -> None:
    change([FEW])
    annotators, control, out = Path("annotators"), Path("models/control"), Path("study")
    places = (annotators, annotators, control, ROOT / "results/benchmark.json", out, Path("runs"))
    out.mkdir()
    (out / "trials.csv").write_text("trial\n")  # by hand
    study.main("shards", *places)
    page = (out / "study.md").read_text()
    assert "| US-Diffusion |" in page
    assert "| without ESS |" in page
    assert "## The paper's row: ESS-3 against 2 DDIM steps" in page
    assert re.search(r"^\| paper \| Image2Map, RMSE \| \S+ ± \S+ \(2\) \| \S+ ± \S+ \(2\) \|", page, re.MULTILINE)
    finished = {path: path.stat().st_mtime_ns for path in Path("runs").glob("*/identity.json")}
    assert len(finished) == 7  # three variants with two seeds each, and the yardsticks
    shutil.rmtree("runs/us_diffusion-2/model")  # to make room
    evaluating = Path("runs/us_diffusion-1")  # as if killed there
    trained = (evaluating / "model/model_index.json").stat().st_mtime_ns
    (evaluating / "identity.json").unlink()
    study.main("shards", *places)
    assert (out / "study.md").read_text() == page
    assert (out / "trials.csv").exists()
    assert (evaluating / "model/model_index.json").stat().st_mtime_ns == trained
    again = {path for path, time in finished.items() if path.stat().st_mtime_ns != time}
    assert again == {evaluating / "identity.json"}


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

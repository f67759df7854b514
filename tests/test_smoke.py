"""The whole DAG, in a temporary clone, at tiny size."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.conftest import ROOT


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
    }
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not check or found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the work tree with the smoke parameters."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    run(ROOT, "git", "clone", "--quiet", str(ROOT), str(folder))
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run(folder, sys.executable, "-m", "usd.cli", "profile", "profiles/smoke.yaml")
    return folder


def test_the_dag_runs_from_nothing_and_then_has_nothing_to_do(clone: Path) -> None:
    first = run(clone, "dvc", "repro")
    assert "stage: 'base' is frozen" in first.stderr
    for name in ("report.md", "report.html", "gate.json", "benchmark.json", "us_diffusion/metrics.json"):
        assert (clone / "results" / name).stat().st_size > 0
    lock = (clone / "dvc.lock").read_text()
    again = run(clone, "dvc", "repro")
    assert "Data and pipelines are up to date" in again.stdout + again.stderr
    assert (clone / "dvc.lock").read_text() == lock
    run(clone, "dvc", "metrics", "diff", "HEAD")


def test_the_ablation_tables_every_variant_and_does_not_repeat_finished_runs(clone: Path) -> None:
    command = [sys.executable, "-m", "usd.stages.ablation", "data/shards", "models/annotators", "ablation", "runs"]
    run(clone, *command)
    table = (clone / "ablation/table.md").read_text()
    assert "| us_diffusion |" in table
    assert "| no_ess |" in table
    began = (clone / "runs/no_ess-2/scores.json").stat().st_mtime_ns
    run(clone, *command)
    assert (clone / "ablation/table.md").read_text() == table
    assert (clone / "runs/no_ess-2/scores.json").stat().st_mtime_ns == began


def test_a_gate_that_fails_ends_the_run(clone: Path) -> None:
    params = clone / "params.yaml"
    params.write_text(params.read_text().replace("floor_ratio: 99", "floor_ratio: 0.0001"))
    failed = run(clone, "dvc", "repro", check=False)
    assert failed.returncode != 0
    assert "RMSE / floor" in failed.stderr


def test_own_pictures_become_a_model_that_is_called(clone: Path) -> None:
    """The commands of the README, in its order."""
    (clone / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        blobs = PIL.Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        blobs.resize((140, 100), PIL.Image.Resampling.BICUBIC).save(clone / f"photos/blobs {number}.jpg")
    shutil.copytree(clone / "models/annotators", clone / "models/networks")
    run(clone, "usd", "ingest", "photos", "--out", "data/scenes")
    run(clone, "usd", "profile", "profiles/photos.yaml")
    run(clone, "dvc", "freeze", "render")
    run(clone, "dvc", "commit", "--force", "render")
    run(clone, "dvc", "repro", "train@us_diffusion")
    depth = next((clone / "data/annotated/train").glob("*.depth.png"))
    image = clone / "data/scenes/train" / depth.name.replace("depth", "image")
    example = ["--example", str(image), str(depth), "--prompt", "depth map"]
    run(clone, "usd", "generate", "--query", "photos/blobs 0.jpg", *example, "--steps", "1", "--out", "results/mine")
    assert PIL.Image.open(clone / "results/mine/blobs 0.png").size == (64, 64)

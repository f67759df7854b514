"""One project, made once; every test changes a copy of it."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.diff.project import KEYS, SAMPLES, SUMMARY, Project, listing, metrics, runs, summary, tile
from usd.diff.dag import read_stages
from usd.diff.revision import find
from usd.evaluation.gate import VARIANTS

CODE = (*sorted((ROOT / "usd").rglob("*.py")), ROOT / "dvc.yaml", ROOT / "params.yaml")
GATE = {"rmse_gain": 0.05, "floor_ratio": 0.8, "fd_gain": 1.0, "adherence_gain": 0.05, "speedup": 5.0}
GATE |= {"swapped_change": 0.02}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("template"))
    project.git("init", "--quiet", "--initial-branch", "main")
    for path in CODE:
        project.write(str(path.relative_to(ROOT)), path.read_bytes())
    project.edit("params.yaml", lambda params: params.update(gate=GATE))
    project.edit("dvc.yaml", lambda file: [file["stages"][name].update(frozen=True) for name in ("base", "ablation")])
    project.write(".gitignore", ".dvc/cache\n.dvc/tmp\n.dvc/config.local\n")
    project.write(".dvc/config", "")
    project.write("README.md", "# Project\n")
    project.write(SUMMARY, json.dumps(summary(KEYS), indent=1))
    project.write(SAMPLES, listing(KEYS))
    for variant in VARIANTS:
        project.write(f"results/{variant}/metrics.json", json.dumps(metrics(variant), indent=1))
        project.write(f"results/{variant}/image2depth.png", tile(10))
    project.write("results/curves.png", tile(20))
    project.write("results/benchmark.json", json.dumps({"speedup_end_to_end": 9.0}))
    project.write("results/ablation/runs.json", json.dumps({variant: runs(variant) for variant in VARIANTS}))
    for out in (out for stage in read_stages(find("workspace", project.root)) for out in stage.outs):
        if not out.cached and not (project.root / out.path).exists():
            project.write(out.path if "." in out.path else f"{out.path}/file", '{"seg_accuracy": 0.9}')
    project.lock()
    project.commit()
    project.git("tag", "base")
    return project


@pytest.fixture
def project(template: Project, tmp_path: Path) -> Project:
    return Project(shutil.copytree(template.root, tmp_path / "project"))

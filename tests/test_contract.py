"""Names agree across dvc.yaml, params.yaml, config and stages."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from tests.conftest import ROOT
from usd import config
from usd.provenance import PACKAGE, code_that_shapes

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_a_stage_is_a_module_and_a_section() -> None:
    modules = {path.stem for path in (ROOT / "usd/stages").glob("*.py")} - {"__init__"}
    sections = {field.name for field in fields(config.Params)}
    assert modules == set(STAGES)
    assert set(STAGES) - sections == {"yardsticks", "report"}  # they read the sections `evaluate` and `gate`
    assert sections - set(STAGES) == {
        "paths",
        "variants",
    }  # what dvc.yaml and `train` take from there
    assert set(yaml.safe_load((ROOT / "params.yaml").read_text())) == sections
    for name, stage in STAGES.items():
        assert f"usd.stages.{name} " in stage["cmd"] + " "
    for field in fields(config.Params):
        assert field.name == "variants" or field.type.__name__.lower() == field.name


def test_whoever_reads_train_depends_on_the_base_and_the_start() -> None:
    """Their weights shape the result, wherever they are; `control` has the base only, being the start itself."""
    for name, stage in STAGES.items():
        if "train" in stage["params"]:
            assert "${train.base}" in stage["deps"], name
            assert ("${train.warm_start}" in stage["deps"]) == (name != "control"), name


def code_dependencies(stage: str) -> list[str]:
    """The code that shapes a stage's result as dvc.yaml names it: folders, loose files and the stage's own file.

    A folder is a stage's dependency as a whole, so an edit of any of its files makes the stage stale.
    """
    files = [file.relative_to(PACKAGE) for file in code_that_shapes(f"usd.stages.{stage}")]
    parts = {file if len(file.parts) == 1 or file.parts[0] == "stages" else Path(file.parts[0]) for file in files}
    return sorted(f"{PACKAGE.name}/{part.as_posix()}" for part in parts)


@pytest.mark.parametrize("name", list(STAGES))
def test_dvc_yaml_names_the_code_that_shapes_a_stage(name: str) -> None:
    assert [dep for dep in STAGES[name]["deps"] if dep.startswith("usd/")] == code_dependencies(name)


def test_the_registry_has_models_that_a_stage_makes_and_metrics_are_named_once() -> None:
    """As DVC reads them; a metric of its own belongs to its stage, and only files inside a folder are named below."""
    with Repo(str(ROOT)) as repo:
        outs = {out.def_path: out for stage in repo.index.stages for out in stage.outs}
        artifacts = repo.artifacts.read()["dvc.yaml"]
        shown = set(repo.metrics.show()[""]["data"])
    assert {name: (each.path, each.type) for name, each in artifacts.items()} == {
        "reference": ("models/reference", "model"),
        "us-diffusion": ("models/us_diffusion", "model"),
    }
    assert {each.path for each in artifacts.values()} <= outs.keys()
    named = yaml.safe_load((ROOT / "dvc.yaml").read_text())["metrics"]
    assert {Path(file).parent.as_posix() for file in named} <= outs.keys()
    assert not outs.keys() & set(named)
    assert shown == {*named, "results/annotators.json"}


LEFT = (".DS_Store", ".loop.py.swp", "loop.py~", ".#loop.py", "#loop.py#", ".nfs00a1", ".ipynb_checkpoints/loop.py")


@pytest.mark.parametrize("name", LEFT)
def test_what_programs_leave_beside_the_code_makes_no_stage_stale(name: str) -> None:
    with Repo(str(ROOT)) as repo:
        assert repo.dvcignore.is_ignored_file(str(ROOT / "usd/training" / name))
    dvc, git = (set((ROOT / file).read_text().splitlines()) for file in (".dvcignore", ".gitignore"))
    assert dvc <= git

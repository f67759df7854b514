"""Names agree across dvc.yaml, params.yaml, config and stages."""

from dataclasses import fields

import pytest
import yaml

from tests.conftest import ROOT
from usd import config
from usd.provenance import code_dependencies

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_a_stage_is_a_module_and_a_section() -> None:
    modules = {path.stem for path in (ROOT / "usd/stages").glob("*.py")} - {"__init__"}
    sections = {field.name for field in fields(config.Params)}
    assert modules == set(STAGES)
    assert set(STAGES) - sections == {"references", "report"}  # they read the sections `evaluate` and `gate`
    assert sections - set(STAGES) == {
        "paths",
        "variants",
    }  # what dvc.yaml and `train` take from there
    assert set(yaml.safe_load((ROOT / "params.yaml").read_text())) == sections
    for name, stage in STAGES.items():
        assert f"usd.stages.{name} " in stage["cmd"] + " "


def test_whoever_reads_train_depends_on_the_base_and_the_start() -> None:
    """Their weights shape the result, wherever they are; `control` has the base only, being the start itself."""
    for name, stage in STAGES.items():
        if "train" in stage["params"]:
            assert "${train.base}" in stage["deps"], name
            assert ("${train.warm_start}" in stage["deps"]) == (name != "control"), name


@pytest.mark.parametrize("name", list(STAGES))
def test_dvc_yaml_names_the_code_that_shapes_a_stage(name: str) -> None:
    assert [dep for dep in STAGES[name]["deps"] if dep.startswith("usd/")] == code_dependencies(name)

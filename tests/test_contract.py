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


@pytest.mark.parametrize("name", list(STAGES))
def test_dvc_yaml_names_the_code_that_shapes_a_stage(name: str) -> None:
    assert [dep for dep in STAGES[name]["deps"] if dep.startswith("usd/")] == code_dependencies(name)

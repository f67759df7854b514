"""Names agree across dvc.yaml, params.yaml, config and stages; stage deps cover what the code imports."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from usd import config

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PACKAGE_MARKERS = {str(path.relative_to(ROOT)) for path in ROOT.glob("usd/**/__init__.py")} - {"usd/stages/__init__.py"}


def imported(path: Path) -> set[Path]:
    """The usd modules that a file imports, at any depth of the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    candidates = [ROOT / name.replace(".", "/") for name in names if name.split(".")[0] == "usd"]
    return {file for c in candidates for file in (c.with_suffix(".py"), c / "__init__.py") if file.is_file()}


def closure(path: Path) -> set[str]:
    """All usd modules that a file imports, directly or not, itself included."""
    todo, seen = [path], set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += imported(file)
    return {str(file.relative_to(ROOT)) for file in seen} - PACKAGE_MARKERS


def test_a_stage_is_a_module_and_a_section() -> None:
    modules = {path.stem for path in (ROOT / "usd/stages").glob("*.py")} - {"__init__"}
    sections = {field.name for field in fields(config.Params)}
    assert modules == set(STAGES)
    assert set(STAGES) - sections == {"report"}  # has nothing to set: it reads the gate's thresholds
    assert sections - set(STAGES) == {"variants"}  # what `train`, `evaluate` and `ablation` choose from
    assert set(yaml.safe_load((ROOT / "params.yaml").read_text())) == sections
    for name, stage in STAGES.items():
        assert f"usd.stages.{name} " in stage["cmd"] + " "


@pytest.mark.parametrize("name", list(STAGES))
def test_deps_cover_imports(name: str) -> None:
    deps = STAGES[name]["deps"]
    uncovered = {
        f for f in closure(ROOT / f"usd/stages/{name}.py") if not any(f == d or f.startswith(d + "/") for d in deps)
    }
    assert not uncovered


@pytest.mark.parametrize("name", list(STAGES))
def test_code_deps_are_used(name: str) -> None:
    used = closure(ROOT / f"usd/stages/{name}.py")
    code = [dep for dep in STAGES[name]["deps"] if dep.startswith("usd/")]
    assert not [dep for dep in code if not any(f == dep or f.startswith(dep + "/") for f in used)]

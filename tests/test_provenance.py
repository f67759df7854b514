"""Which code shapes a result: dvc.yaml says it, and no edit beside it makes a training stale."""

import ast
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from usd.provenance import PLUMBING, code_digest, code_that_shapes, imported

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_what_cannot_change_a_result_is_left_out(tmp_path: Path) -> None:
    names = {path.relative_to(ROOT / "usd").as_posix() for path in code_that_shapes("usd.stages.train")}
    assert {"training/loop.py", "model/control.py", "tasks.py", "stages/train.py"} <= names
    assert not {name for name in names if name.startswith(("config/", "track", "cli", "diff/", "ingestion/"))}


def test_no_number_that_shapes_a_result_is_taken_from_where_an_edit_makes_nothing_stale() -> None:
    """Such as the distance of the scenes' seeds; a limit at which a stage refuses or portions its work shapes none."""
    files = {file for name in STAGES for file in code_that_shapes(f"usd.stages.{name}")}
    trees = [ast.parse(file.read_text()) for file in files]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    found = {
        alias.name
        for node in nodes
        for alias in node.names
        if node.module.startswith(tuple(f"usd.{part.replace('/', '.')}" for part in PLUMBING))
        and isinstance(getattr(import_module(node.module), alias.name, None), int | float)
    }
    assert found == {"CHUNK_BYTES", "LARGEST_SIDE"}


def test_the_words_of_its_page_make_no_run_of_the_study_stale() -> None:
    names = {path.relative_to(ROOT / "usd").parts[0] for path in code_that_shapes("usd.study.runs")}
    assert "training" in names
    assert "evaluation" in names
    assert not names & {"reporting", "stages", "generation"}


def test_imports_are_found_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\ndef f():\n    from usd.data import shards\n    import usd.tasks\n")
    found = {path.relative_to(ROOT).as_posix() for path in imported(tmp_path / "a.py")}
    assert found == {"usd/data/__init__.py", "usd/data/shards.py", "usd/tasks.py"}


def test_the_digest_is_the_stages_own() -> None:
    assert len({code_digest(f"usd.stages.{name}") for name in STAGES}) == len(STAGES)


def test_dvc_yaml_is_short() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", ["annotators", "base", "control", "train"])
def test_neither_a_comment_nor_another_section_makes_a_training_stale(name: str) -> None:
    """DVC compares a section's values; params.yaml as a file, or the code that reads it, is nobody's dependency."""
    assert not {dep for dep in STAGES[name]["deps"] if dep.startswith(("params.yaml", "usd/config"))}
    assert STAGES[name]["params"][0] == name

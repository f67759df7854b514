"""How the code is kept: imports run one way, files and functions stay short, what a training uses stays small."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Rooms from the ground up. A room imports from rows below its own, never from its own row or from above.
LAYERS = (
    ("errors",),
    ("files",),
    ("determinism", "images", "parallel", "provenance", "tasks", "track"),
    ("config",),
    ("data", "diffusion", "model"),
    ("annotators", "ingestion", "synthesis"),
    ("inference", "training", "validation"),
    ("evaluation", "generation"),
    ("reporting",),
    ("diff", "study"),
    ("stages",),
    ("cli",),
)
ROW = {room: row for row, rooms in enumerate(LAYERS) for room in rooms}
CODE = sorted(path for room in ("usd", "flows") for path in (ROOT / room).rglob("*.py"))
LINES, TEST_LINES, FUNCTION_LINES = 250, 300, 40


def module(path: Path) -> str:
    """`usd.data.index` of usd/data/index.py; `usd.data` of usd/data/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in CODE}


def imports(path: Path) -> set[str]:
    """The modules of usd and flows that a file imports, at any depth of the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            names |= inner or {node.module}
    return names & MODULES.keys()


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def reached(name: str) -> set[str]:
    """All modules that importing a module brings along."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        if (each := todo.pop()) not in seen:
            seen.add(each)
            todo += IMPORTS[each]
    return seen


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("usd.")))
def test_imports_run_downwards(name: str) -> None:
    for other in IMPORTS[name] - {"usd"}:
        assert room(other) == room(name) or ROW[room(other)] < ROW[room(name)], f"{name} imports {other}"


def test_every_room_has_its_row() -> None:
    assert {room(name) for name in MODULES if name.startswith("usd.")} == set(ROW)


def test_no_imports_run_in_circles() -> None:
    TopologicalSorter(IMPORTS).prepare()


def test_nothing_that_ships_imports_what_surrounds_it() -> None:
    around = {"benchmarks", "docs", "tests"}
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                allowed = around if path.is_relative_to(ROOT / "flows") else {*around, "flows"}
                assert node.module.split(".")[0] not in allowed, f"{path} imports {node.module}"


READ = {"diff", "generation", "reporting", "study"}  # what is made of results, for people


@pytest.mark.parametrize(
    ("stages", "others"),
    [
        (
            ("annotators", "base", "control", "train"),
            {"evaluation", "inference", "ingestion", "synthesis", "validation"},
        ),
        (("benchmark", "evaluate", "yardsticks"), {"ingestion", "synthesis", "training", "validation"}),
    ],
    ids=["training", "evaluation"],
)
def test_long_stages_stand_on_little(stages: tuple[str, ...], others: set[str]) -> None:
    """An edit of the demo, of an ingest parser, of the review or of a report repeats none."""
    used = {room(name) for stage in stages for name in reached(f"usd.stages.{stage}")}
    assert not used & (others | READ)


def test_folders_of_tests_are_those_of_the_code() -> None:
    rooms = {path.parent.name for path in (ROOT / "usd").glob("*/__init__.py")}
    assert {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")} <= rooms | {"flows"}


@pytest.mark.parametrize("path", CODE, ids=module)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=module)
def test_files_of_tests_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= TEST_LINES


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", CODE, ids=module)
def test_functions_are_short(path: Path) -> None:
    """Without their docstrings, which may be as long as they need to be."""
    for function in functions(path):
        docstring = function.body[0].end_lineno - function.body[0].lineno + 1 if ast.get_docstring(function) else 0
        lines = function.end_lineno - function.lineno + 1 - docstring
        assert lines <= FUNCTION_LINES, f"{function.name} has {lines} lines"

"""What the code imports is declared, and what is declared is pinned where it is installed."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = packages_distributions()
OURS = {"usd", "flows", "benchmarks", "tests", "docs"}
OLDEST = "3.11.0"


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


RUNTIME = names(PROJECT["dependencies"])
EXTRAS = {extra: names(requirements) for extra, requirements in PROJECT["optional-dependencies"].items()}
WITHOUT_DEV = RUNTIME.union(*(declared for extra, declared in EXTRAS.items() if extra != "dev"))


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Top-level packages of other projects that the nodes import."""
    modules: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.split(".")[0])
    return modules - sys.stdlib_module_names - OURS


def undeclared(modules: set[str], declared: set[str]) -> set[str]:
    """Those that no declared distribution has; one that is not installed here must have the distribution's name."""
    return {
        module
        for module in modules
        if not declared & {canonicalize_name(name) for name in DISTRIBUTIONS.get(module, [module])}
    }


def sources(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", sources("usd", "flows"), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_the_code_imports_is_declared(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not undeclared(imported(iter(tree.body)), RUNTIME)  # a module of an extra is imported where it is used
    assert not undeclared(imported(ast.walk(tree)), WITHOUT_DEV)


@pytest.mark.parametrize("room", ["tests", "benchmarks", "docs"])
def test_what_tests_and_tools_import_is_declared(room: str) -> None:
    modules = set[str]().union(*(imported(ast.walk(ast.parse(path.read_text()))) for path in sources(room)))
    assert not undeclared(modules, WITHOUT_DEV | EXTRAS["dev"])


def test_every_dependency_is_imported() -> None:
    modules = set[str]().union(*(imported(ast.walk(ast.parse(p.read_text()))) for p in sources("usd", "flows")))
    used = {canonicalize_name(name) for module in modules for name in DISTRIBUTIONS.get(module, [])}
    assert not RUNTIME - used


def pinned(file: str) -> set[str]:
    """The distributions that a file pins; every line must pin one, or name the file that it goes on from."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith(("#", "-c "))]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", line) for line in lines)
    assert lines == sorted(lines, key=str.lower)
    return {canonicalize_name(line.split("==")[0]) for line in lines}


def closure(requirements: list[str]) -> set[str]:
    """The distributions that installing the requirements brings on this machine, on any Python that is allowed."""
    found: set[tuple[str, str]] = set()
    todo = [(Requirement(each), "") for each in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra, "python_full_version": OLDEST}):
            continue
        for wanted in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), wanted)
            if key in found:
                continue
            found.add(key)
            try:
                todo += [(Requirement(each), wanted) for each in requires(requirement.name) or []]
            except PackageNotFoundError:
                continue  # an optional one that this machine does not need
    return {name for name, _ in found}


def test_make_repro_installs_what_runs_and_nothing_else() -> None:
    needed = closure(PROJECT["dependencies"])
    assert pinned("constraints.txt") <= needed | {"setuptools", "pip", "wheel"}
    assert pinned("constraints.txt") >= RUNTIME


def test_make_test_installs_every_extra_but_those_that_pin_themselves() -> None:
    extras = [each for extra in PROJECT["optional-dependencies"].values() for each in extra if "==" not in each]
    tried = closure([*PROJECT["dependencies"], *extras])
    assert pinned("constraints-extra.txt") <= tried - pinned("constraints.txt")
    assert pinned("constraints-extra.txt") | pinned("constraints.txt") >= RUNTIME | names(extras)

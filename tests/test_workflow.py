"""The workflow of pull requests, the Dockerfile and their commands: linted, and calling what exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from usd.cli import app

pytestmark = pytest.mark.slow

LINT = Path(sys.executable).with_name("actionlint")


def test_the_workflow_calls_what_there_is() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/review.yml").read_text())
    assert workflow[True] == "pull_request"  # YAML 1.1 reads the key `on` so
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["comment"]["permissions"] == {"pull-requests": "write"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    lines = [line.strip() for step in steps for line in step.get("run", "").splitlines()]
    called = [line.split()[:2] for line in lines if line.split()[0] in ("usd", "make", "dvc")]
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {"usd": commands, "make": targets, "dvc": {"repro", "fetch"}}
    assert {tool for tool, _ in called} == {"usd", "make", "dvc"}
    for tool, command in called:
        assert command in known[tool]
    assert any(line.startswith("usd profile ") and (ROOT / line.split()[2]).is_file() for line in lines)
    assert any(line.startswith('usd diff "origin/$BASE" HEAD') and "--format md" in line for line in lines)
    commenting = [step.get("run", "") + step.get("uses", "") for step in workflow["jobs"]["comment"]["steps"]]
    assert not [text for text in commenting if "checkout" in text or "usd diff" in text]


@pytest.mark.parametrize("command", [("actionlint",), ("hadolint", "Dockerfile")])
def test_linters_find_nothing(command: tuple[str, ...]) -> None:
    """actionlint runs shellcheck on every step, which must be found beside it."""
    folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (found.stdout + found.stderr, found.returncode) == ("", 0)


def test_node_20_is_an_error(tmp_path: Path) -> None:
    """actionlint knows the runtime of each action's version, so that an old one cannot come back."""
    text = (ROOT / ".github/workflows/review.yml").read_text()
    (tmp_path / "old.yml").write_text(text.replace("actions/checkout@v6", "actions/checkout@v4"))
    found = subprocess.run([LINT, tmp_path / "old.yml"], capture_output=True, text=True, check=False)
    assert 'runtime "node20" is deprecated' in found.stdout


def test_the_image_is_given_what_it_copies() -> None:
    lines = re.findall(r"^COPY (.+) \./$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    copied = " ".join(lines).split()
    assert all((ROOT / name).is_file() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored == ["*", *sorted(f"!{name}" for name in copied)]

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


@pytest.mark.parametrize("tracked", [True, False])
def test_the_smoke_copy_needs_nothing_that_dvc_keeps(tracked: bool, tmp_path: Path) -> None:
    """The step itself, with stand-ins for the commands, where DVC tracks a folder of pictures or nothing."""
    steps = yaml.safe_load((ROOT / ".github/workflows/review.yml").read_text())["jobs"]["review"]["steps"]
    (script,) = (step["run"] for step in steps if "profiles/smoke.yaml" in step.get("run", ""))
    tools = tmp_path / "project/.venv/bin"
    tools.mkdir(parents=True)
    for tool in ("usd", "dvc"):
        (tools / tool).write_text(f'#!/bin/sh\necho {tool} "$@" >> "$RUNNER_TEMP/called"\n')
        (tools / tool).chmod(0o755)
    (tmp_path / ("project/photos.dvc" if tracked else "project/README.md")).touch()
    author = "-c user.name=tester -c user.email=tester@example.org"
    script = f"git init --quiet; git add --all; git {author} commit --quiet --message start\n{script}"
    environment = os.environ | {"RUNNER_TEMP": str(tmp_path)}
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path / "project", env=environment, check=True)
    rendered = ["usd use rendered", "usd profile profiles/cpu.yaml"] if tracked else []
    called = (tmp_path / "called").read_text().splitlines()
    assert called == [*rendered, "usd profile profiles/smoke.yaml", "dvc repro gate"]


def test_the_cache_is_of_one_python() -> None:
    """A cached environment links to the Python that made it, which the next patch release removes from the machine."""
    steps = yaml.safe_load((ROOT / ".github/workflows/review.yml").read_text())["jobs"]["review"]["steps"]
    (cached,) = (step["with"]["key"] for step in steps if "actions/cache@" in step.get("uses", ""))
    assert any(f"steps.{step['id']}.outputs.python-version" in cached for step in steps if "id" in step)


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

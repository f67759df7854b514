"""The workflow of pull requests calls commands that exist, and actionlint accepts it."""

import re
import subprocess

import yaml

from tests.conftest import ROOT
from usd.cli import app


def test_the_workflow_calls_what_there_is() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/review.yml").read_text())
    assert workflow[True] == "pull_request"  # YAML 1.1 reads the key `on` so
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["comment"]["permissions"] == {"pull-requests": "write"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    lines = [line.strip() for step in steps for line in step.get("run", "").splitlines()]
    called = [line.split()[:2] for line in lines if line.split()[0] in ("usd", "make", "dvc", "cml")]
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {"usd": commands, "make": targets, "dvc": {"repro"}, "cml": {"comment"}}
    assert {tool for tool, _ in called} == {"usd", "make", "dvc", "cml"}
    for tool, command in called:
        assert command in known[tool]
    assert any(line.startswith("usd profile ") and (ROOT / line.split()[2]).is_file() for line in lines)
    assert any(line.startswith('usd diff "origin/$BASE" HEAD --format md') for line in lines)
    for step in steps:
        subprocess.run(["bash", "-n"], input=step.get("run", ""), text=True, check=True)
    commenting = [step.get("run", "") + step.get("uses", "") for step in workflow["jobs"]["comment"]["steps"]]
    assert not [text for text in commenting if "checkout" in text or "usd diff" in text]

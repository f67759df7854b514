"""The stages that rerun: as `dvc status` has it, from git alone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.diff.project import Project
from usd.diff.dag import read_stages
from usd.diff.review import text
from usd.diff.revision import find
from usd.diff.stages import Plan, plan

pytestmark = pytest.mark.slow


def test_stages_that_rerun_are_the_changed_ones_and_all_that_follow(project: Project) -> None:
    found = plan(find("base", project.root))
    assert (found.reruns, found.frozen) == ([], [])
    project.edit("params.yaml", lambda params: params["gate"].update(fd_gain=2.0))
    project.commit()
    assert [rerun.name for rerun in plan(find("HEAD", project.root)).reruns] == ["report", "gate"]
    project.write("usd/annotators/maps.py", "# edited\n")
    project.commit()
    found = plan(find("HEAD", project.root))
    names = {stage.name for stage in read_stages(find("HEAD", project.root))}
    assert {rerun.name for rerun in found.reruns} == names - {"render", "base", "control", "reference", "study"}
    reasons = {rerun.name: (rerun.reasons, rerun.after) for rerun in found.reruns}
    assert reasons["annotate"] == (["usd/annotators changed"], [])
    assert reasons["shard"] == ([], ["annotate", "validate"])
    project.edit("dvc.lock", lambda lock: lock["stages"].pop("evaluate@us_diffusion"))
    project.edit("params.yaml", lambda params: params["base"].update(steps=1))
    found = plan(find("workspace", project.root))
    assert next(each for each in found.reruns if each.name == "evaluate@us_diffusion").reasons == ["not in dvc.lock"]
    others = [(name, ["usd/annotators changed"]) for name in ("control", "study", "reference")]
    frozen = [("base", ["params.yaml: base.steps"]), *others]
    assert [(each.name, each.reasons) for each in found.frozen] == frozen


def test_stages_agree_with_dvc_status(project: Project) -> None:
    project.git("rm", "--quiet", "results/curves.png")
    project.write("usd/evaluation/metrics.py", "# edited\n")
    project.edit("params.yaml", lambda params: params["render"].update(seed=2))
    project.commit()
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    project.write(".dvc/config", "")
    status = json.loads(subprocess.run(command, cwd=project.root, check=True, capture_output=True).stdout)
    expected: dict[str, set[str]] = {}
    for name, states in status.items():
        changes = [change for state in states for change in state.values()]
        paths = {path for change in changes for path, how in change.items() if how in ("modified", "new")}
        paths |= {"results/curves.png"} & {path for change in changes for path in change}
        if any("params.yaml" in change for change in changes):
            paths = paths - {"params.yaml"} | {"params.yaml: render.seed"}
        expected |= {name: paths} if paths else {}
    found = plan(find("HEAD", project.root))
    ours = {rerun.name: {re.sub(r" (changed|is missing)$", "", why) for why in rerun.reasons} for rerun in found.reruns}
    assert {name: reasons for name, reasons in ours.items() if reasons} == expected


def test_no_file_is_read_as_a_stream(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rarely, pygit2's waits forever."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pygit2.BlobIO", fail)
    assert read_stages(find("base", project.root))


@pytest.mark.parametrize("head", ["HEAD", "workspace"])
def test_a_stage_that_is_removed_is_told_by_name(project: Project, head: str) -> None:
    def shrink(file: Any) -> None:
        del file["stages"]["benchmark"]
        file["stages"]["evaluate"]["matrix"] = {"variant": ["us_diffusion"]}

    def step(change: Callable[[], object]) -> tuple[str, list[str]]:
        change()
        if head == "HEAD":
            project.commit()
        found = project.compared("base", head)
        return text(found, "md"), found.regressions

    told, worse = step(lambda: project.edit("dvc.yaml", shrink))
    assert "stages: 2 removed" in told.splitlines()[0]
    assert "| `evaluate@prompt_diffusion` | removed |\n| `benchmark` | removed |" in told
    assert worse == []
    told, worse = step((project.root / "dvc.yaml").unlink)
    assert "stages: 17 removed" in told.splitlines()[0]
    assert worse == ["no stage is left: dvc.yaml is gone or has none"]


def test_a_new_stage_of_another_dvc_yaml_a_frozen_one_and_one_that_ran_are_told(project: Project) -> None:
    project.edit("dvc.lock", lambda lock: lock["stages"].pop("gate"))
    project.commit()
    project.git("tag", "--force", "base")
    project.git("checkout", "--quiet", "HEAD~1", "--", "dvc.lock")
    project.edit("params.yaml", lambda params: params["base"].update(steps=1))
    project.write("below/dvc.yaml", "stages: {gate: {cmd: echo}}\n")
    project.write("below/empty.dvc", "")
    project.commit()
    told = project.review()
    summary = "stages: 1 more to rerun, 1 more frozen and out of date, 1 new, 1 up to date again"
    assert summary in told.splitlines()[0]
    assert "| `below/dvc.yaml:gate` | new |\n| `gate` | up to date again |" in told
    assert "| `base` | params.yaml: base.steps |" in told


def test_a_stage_that_always_runs_is_told(project: Project) -> None:
    """`always_changed: true`, or without dependencies and outputs; a frozen one is not run."""

    def add(file: Any) -> None:
        file["stages"]["gate"]["always_changed"] = True
        file["stages"]["benchmark"] |= {"always_changed": True, "frozen": True}
        file["stages"]["tell"] = {"cmd": "echo"}

    project.edit("dvc.yaml", add)
    project.commit()
    found = plan(find("HEAD", project.root))
    assert {each.name: each.reasons for each in found.reruns} == {
        "gate": ["runs every time"],
        "tell": ["runs every time"],
    }
    assert found.frozen == []


def test_what_is_outside_of_git_is_taken_as_recorded(project: Project) -> None:
    """A dependency in object storage, and data that `dvc add` tracks."""

    def depend(file: Any) -> None:
        file["vars"] = [{"outside": {"photos": "data/photos", "shards": "s3://bucket/shards"}}]
        file["stages"]["render"]["deps"] += ["${outside.photos}", "${outside.shards}"]

    def record(lock: Any) -> None:
        deps = lock["stages"]["render"]["deps"]
        deps += [{"path": "data/photos", "md5": "0" * 32 + ".dir"}, {"path": "s3://bucket/shards", "etag": "0123"}]

    pointer = "outs:\n- md5: {}.dir\n  hash: md5\n  path: photos\n"
    project.edit("dvc.yaml", depend)
    project.write("data/photos.dvc", pointer.format("0" * 32))
    project.commit()
    new = {rerun.name: rerun.reasons for rerun in plan(find("HEAD", project.root)).reruns}
    assert new["render"] == ["data/photos is a new dependency", "s3://bucket/shards is a new dependency"]
    project.edit("dvc.lock", record)
    project.commit()
    assert plan(find("HEAD", project.root)).reruns == []
    project.write("data/photos.dvc", pointer.format("2" * 32))
    project.commit()
    assert plan(find("HEAD", project.root)).reruns[0].reasons == ["data/photos changed"]


def test_a_project_below_the_root_of_git(project: Project) -> None:
    (project.root / "below").mkdir()
    tracked = project.git("ls-tree", "--name-only", "HEAD").split()
    project.git("mv", *tracked, "below")
    project.commit()
    below = Project(project.root / "below")
    assert plan(find("HEAD", below.root)) == plan(find("workspace", below.root)) == Plan([], [])

"""The DAG as DVC has it, and names that agree."""

import sys
from pathlib import Path

import pytest
import yaml

from flows.dag import read_dag
from tests.conftest import ROOT
from tests.flows.project import in_project


def test_our_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    stages = read_dag()
    seen: set[str] = set()
    for stage in stages:
        assert set(stage.upstream) <= seen
        seen.add(stage.name)
    assert {"render", "train@us_diffusion", "gate"} <= seen
    gpu = {stage.name.split("@")[0] for stage in stages if stage.gpu}
    (benchmark,) = (stage for stage in stages if stage.name == "benchmark")
    assert benchmark.results == (Path("results/benchmark_settings.json"), Path("results/benchmark.json"))
    trainings = {"annotators", "base", "control", "train", "reference", "study"}
    assert gpu == trainings | {"yardsticks", "evaluate", "benchmark"}


def test_our_names_agree() -> None:
    import flows.artifacts
    import flows.serve

    command = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["validate"]["cmd"].split()
    assert str(flows.artifacts.VALIDATION.parent) in command
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        assert deployment["work_pool"]["name"] == flows.serve.POOL
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
        path, flow = deployment["entrypoint"].split(":")
        assert f"\ndef {flow}(" in (ROOT / path).read_text()
        assert all(schedule["timezone"] for schedule in deployment.get("schedules", []))


def test_stages_do_not_know_prefect() -> None:
    assert not [path for path in (ROOT / "usd").rglob("*.py") if "prefect" in path.read_text()]


@pytest.mark.slow
def test_the_order_is_dvcs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    planned = in_project(project, sys.executable, "-m", "dvc", "repro", "--dry", "--force").splitlines()
    order = [stage.name for stage in read_dag() if not stage.frozen]
    assert order == [line.split("'")[1] for line in planned if line.startswith("Running stage")]
    assert [stage.name for stage in read_dag(["train@a"])] == ["render", "validate", "base", "train@a"]

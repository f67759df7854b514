"""The flows over the DAG: order, cache, retries, artifacts."""

import shutil
from pathlib import Path

import pytest

from flows.dag import read_dag
from tests.flows.project import api, artifact, change_rate, diary, in_project, run, tasks_of
from tests.serving import wait_for

pytestmark = pytest.mark.slow


def test_the_dag_runs_in_order_and_then_is_cached(inside: Path) -> None:
    from flows.pipeline import reproduce

    state = run(reproduce, force=True)
    tasks = tasks_of(state, 8)
    assert state.is_completed()
    assert state.message == "7 run, 0 cached, 1 frozen"
    assert {name: task.state.name for name, task in tasks.items()} == {"base": "Frozen"} | dict.fromkeys(
        ["render", "validate", "left", "right", "train@a", "train@b", "gate"], "Completed"
    )
    happened = diary()
    assert happened[:4] == [("start", "render"), ("end", "render"), ("start", "validate"), ("end", "validate")]
    assert happened[-2:] == [("start", "gate"), ("end", "gate")]
    trainings = [what for what, name in happened if name.startswith("train")]
    assert trainings == ["start", "end"] * 2  # one at a time: they share the GPU

    with api() as client:
        from prefect.client.schemas.filters import LogFilter

        only = LogFilter.model_validate({"task_run_id": {"any_": [tasks["left"].id]}})
        wait_for(lambda: "left says hello" in [log.message for log in client.read_logs(only)], 10)

    assert artifact("validation") == "all keys are sound"
    assert "![results/a/grid.png](data:image/jpeg;base64," in artifact("grids")
    assert in_project(inside, "git", "rev-parse", "HEAD").strip() in artifact("revision")
    assert " M timings.json\n" in artifact("revision")
    assert [row["stage"] for row in artifact("stages")] == [stage.name for stage in read_dag()]

    shutil.rmtree(".usd")
    state = run(reproduce)
    tasks = tasks_of(state, 8)
    assert state.message == "0 run, 7 cached, 1 frozen"
    assert {task.state.name for task in tasks.values()} == {"Cached", "Frozen"}
    assert not Path(".usd").exists()


def test_metrics_and_parameters_are_compared_with_the_last_commit(inside: Path) -> None:
    from flows.pipeline import train

    Path("params.yaml").write_text("train: {rate: 4}\n")
    run(train, variant="a")
    changed = {"committed": 0.5, "now": 0.25, "difference": -0.25}
    assert {"file": "results/a/metrics.json", "name": "loss"} | changed in artifact("metrics")
    changed = {"committed": 2, "now": 4, "difference": 2}
    assert artifact("parameters") == [{"file": "params.yaml", "name": "train.rate"} | changed]
    in_project(inside, "git", "checkout", "--quiet", ".")


def test_a_failed_validation_ends_the_run_without_retry(inside: Path) -> None:
    from flows.pipeline import reproduce

    Path(".usd/fail-validate").touch()
    state = run(reproduce, force=True)
    tasks = tasks_of(state, 8)
    assert state.is_failed()
    assert "validate: validate is not sound" in state.message
    assert tasks["validate"].run_count == 1
    assert {name for what, name in diary()} == {"render", "validate"}
    assert artifact("validation") == "the failing keys"
    assert tasks["gate"].state.name == "NotReady"


def test_a_failed_training_keeps_the_next_from_the_gpu(inside: Path) -> None:
    from flows.pipeline import reproduce

    Path(".usd/fail-train@a").touch()
    Path(".usd/fail-train@b").touch()
    state = run(reproduce, targets=["train"], force=True)
    tasks = tasks_of(state, 5)
    assert state.is_failed()
    assert sorted(tasks[name].state.name for name in ("train@a", "train@b")) == ["Cancelled", "Failed"]


def test_a_killed_training_is_retried_and_resumes(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import stages
    from flows.pipeline import train

    monkeypatch.setattr(stages.run_stage, "retry_delay_seconds", [0.1, 0.1])
    Path(".usd/kill-train@a").touch()
    state = run(train, variant="a", force=True)
    tasks = tasks_of(state, 4)
    assert state.is_completed()
    assert tasks["train@a"].run_count == 2
    assert tasks["validate"].run_count == 1
    assert ("resume", "train@a") in diary()


def test_a_missing_gpu_limit_is_an_error(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import stages
    from flows.pipeline import train

    monkeypatch.setattr(stages, "GPU", "no-such-limit")
    change_rate()
    state = run(train, variant="a")
    assert state.is_failed()
    assert "prefect gcl create no-such-limit --limit 1" in state.message


def test_an_unknown_stage_is_an_error(inside: Path) -> None:
    from flows.pipeline import evaluate

    state = run(evaluate, variant="a")
    assert state.is_failed()
    assert "'evaluate@a' not found" in state.message

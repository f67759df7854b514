"""The Prefect flows on a real server, over a small DVC project with the shape of ours; `make serve` runs all of it."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from flows.dag import read_dag
from tests import serving as serving_process
from tests.conftest import ROOT
from tests.serving import wait_for

pytestmark = pytest.mark.slow

STEP = """
import json, os, signal, sys, time
from pathlib import Path
import yaml
from usd.parallel import parallel_map

def main(name, out):
    control = Path(".usd")  # what the tests ask for, and what happened
    asked = lambda what: (control / f"{what}-{name}").exists()
    print(f"{name} says hello", flush=True)
    if control.exists():
        with (control / "diary").open("a") as diary:
            diary.write(f"{time.time()} start {name}\\n")
    if asked("fail"):
        if name == "validate":
            Path(out).mkdir(parents=True)
            Path(out, "summary.md").write_text("the failing keys")
        sys.exit(f"error: {name} is not sound")
    if asked("checkpoint"):
        with (control / "diary").open("a") as diary:
            diary.write(f"{time.time()} resume {name}\\n")
    if asked("spread"):
        assert list(parallel_map(len, ["ab"] * 40, name)) == [2] * 40
    if asked("nap"):
        (control / "pid").write_text(str(os.getpid()))
        list(parallel_map(time.sleep, [100] * 4, name, chunk=1))
    if asked("deaf"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        (control / "pid").write_text(str(os.getpid()))
        time.sleep(100)
    if asked("kill"):
        (control / f"kill-{name}").rename(control / f"checkpoint-{name}")
        os.kill(os.getpid(), signal.SIGKILL)
    if asked("wait"):
        (control / f"wait-{name}").rename(control / f"checkpoint-{name}")
        (control / "pid").write_text(str(os.getpid()))
        time.sleep(100)
    if name in ("left", "right"):  # each ends only if the other runs at the same time
        (control / f"here-{name}").touch()
        deadline = time.time() + 30
        while not all((control / f"here-{other}").exists() for other in ("left", "right")):
            assert time.time() < deadline
            time.sleep(0.05)
    if name.startswith("train"):
        from PIL import Image
        rate = yaml.safe_load(open("params.yaml"))["train"]["rate"]
        time.sleep(0.5)
        out.mkdir(parents=True)
        (out / "metrics.json").write_text(json.dumps({"loss": 1 / rate}))
        Image.new("RGB", (900, 90), "red").save(out / "grid.png")
    elif name == "validate":
        out.mkdir(parents=True)
        (out / "summary.md").write_text("all keys are sound")
    else:
        out.write_text(name)
    if control.exists():
        with (control / "diary").open("a") as diary:
            diary.write(f"{time.time()} end {name}\\n")

if __name__ == "__main__":  # its workers import it
    main(sys.argv[1], Path(sys.argv[2]))
"""

DVC_YAML = """
stages:
  render: {cmd: python step.py render data.txt, outs: [data.txt]}
  validate:
    cmd: python step.py validate results/validation
    deps: [data.txt]
    outs: [results/validation: {cache: false}]
  left: {cmd: python step.py left left.txt, deps: [results/validation], outs: [left.txt]}
  right: {cmd: python step.py right right.txt, deps: [results/validation], outs: [right.txt]}
  base: {frozen: true, cmd: python step.py base base.txt, deps: [data.txt], outs: [base.txt: {cache: false}]}
  train:
    matrix: {variant: [a, b]}
    cmd: python step.py train@${item.variant} results/${item.variant}
    deps: [results/validation, base.txt]
    params: [train]
    outs:
    - results/${item.variant}: {cache: false}
    meta: {gpu: true}
  gate:
    cmd: python step.py gate gate.txt
    deps: [left.txt, right.txt, results/a, results/b]
    outs: [gate.txt: {cache: false}]
metrics: [results/a/metrics.json, results/b/metrics.json]
"""

PREFECT_YAML = """
pull:
- prefect.deployments.steps.set_working_directory: {directory: "{{ $PWD }}"}
deployments:
- name: test
  entrypoint: flows/pipeline.py:reproduce
  concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
  work_pool: {name: us-diffusion}
- name: often
  entrypoint: flows/pipeline.py:validate
  schedules: [{interval: 5}]
  paused: true
  concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
  work_pool: {name: us-diffusion}
"""


def in_project(project: Path, *command: str) -> str:
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC project in which nothing has run yet."""
    folder = tmp_path_factory.mktemp("flows") / "project"
    (folder / ".usd").mkdir(parents=True)
    files = {"step.py": STEP, "dvc.yaml": DVC_YAML, "prefect.yaml": PREFECT_YAML, "params.yaml": "train: {rate: 2}\n"}
    for name, text in (files | {"base.txt": "base", ".gitignore": ".usd/\n/flows\n/usd\n"}).items():
        (folder / name).write_text(text)
    for package in ("flows", "usd"):
        (folder / package).symlink_to(ROOT / package)
    in_project(folder, "git", "init", "--quiet")
    in_project(folder, "git", "config", "user.name", "tester")
    in_project(folder, "git", "config", "user.email", "tester@example.org")
    in_project(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    in_project(folder, "git", "add", "--all")
    in_project(folder, "git", "commit", "--quiet", "--message", "Start")
    return folder


@pytest.fixture(scope="module")
def serving(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m flows.serve` in the project: server, worker and deployments. Prefect in this process uses it too."""
    port = serving_process.free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("PREFECT_WORKER_QUERY_SECONDS", "1")
        serve = serving_process.start(project, port)
        try:
            from prefect.settings import PREFECT_API_URL, temporary_settings

            with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
                yield serve
        finally:
            send_everything()
            serving_process.stop(serve)


def send_everything() -> None:
    """What Prefect in this process has yet to tell the server."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@pytest.fixture
def inside(project: Path, serving: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as working directory, with a clean .usd."""
    monkeypatch.chdir(project)
    shutil.rmtree(".usd", ignore_errors=True)
    Path(".usd").mkdir()
    return project


def api() -> Any:
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def run(flow: Any, **parameters: Any) -> Any:
    """Run a flow in this process; its final state."""
    return flow(**parameters, return_state=True)


def tasks_of(state: Any, count: int) -> dict[str, Any]:
    """The flow run's task runs by name, once all are in their last state."""
    from prefect.client.schemas.filters import FlowRunFilter

    only = FlowRunFilter.model_validate({"id": {"any_": [state.state_details.flow_run_id]}})

    def ended() -> dict[str, Any]:  # the server takes the states from a queue
        found = {task.name: task for task in client.read_task_runs(flow_run_filter=only)}
        done = [task for task in found.values() if task.state.is_final() or task.state.name == "NotReady"]
        return found if len(done) == count else {}

    with api() as client:
        return wait_for(ended)


def artifact(key: str) -> Any:
    """The newest data under a key: Markdown as text, a table as rows."""
    from prefect.artifacts import Artifact

    found = Artifact.get(key)
    return json.loads(found.data) if found.type == "table" else found.data


def diary() -> list[tuple[str, str]]:
    """What the stages did, in order: ("start", "render")."""
    return [tuple(line.split()[1:]) for line in Path(".usd/diary").read_text().splitlines()]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def assert_unlocked(project: Path) -> None:
    assert not any(json.loads((project / ".dvc/tmp/rwlock").read_text()).values())
    in_project(project, sys.executable, "-m", "dvc", "repro", "--single-item", "render")  # takes DVC's lock


def test_our_dag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    stages = read_dag()
    seen: set[str] = set()
    for stage in stages:
        assert set(stage.upstream) <= seen
        seen.add(stage.name)
    assert {"render", "train@us_diffusion", "gate"} <= seen
    gpu = {stage.name.split("@")[0] for stage in stages if stage.gpu}
    assert gpu == {"annotators", "base", "train", "evaluate", "benchmark", "ablation"}


def test_our_names_agree() -> None:
    import flows.artifacts
    import flows.serve

    command = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["validate"]["cmd"].split()
    assert str(flows.artifacts.VALIDATION.parent) in command
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        assert deployment["work_pool"]["name"] == flows.serve.POOL
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        path, flow = deployment["entrypoint"].split(":")
        assert f"\ndef {flow}(" in (ROOT / path).read_text()
        assert all(schedule["timezone"] for schedule in deployment.get("schedules", []))


def test_stages_do_not_know_prefect() -> None:
    assert not [path for path in (ROOT / "usd").rglob("*.py") if "prefect" in path.read_text()]


def test_the_dag_runs_in_order_and_then_is_cached(inside: Path) -> None:
    from flows.pipeline import reproduce

    state = run(reproduce)
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
    assert [row["stage"] for row in artifact("stages")] == [stage.name for stage in read_dag()]

    in_project(inside, "git", "add", "--all")
    in_project(inside, "git", "commit", "--quiet", "--message", "Results")
    shutil.rmtree(".usd")
    state = run(reproduce)
    tasks = tasks_of(state, 8)
    assert state.message == "0 run, 7 cached, 1 frozen"
    assert {task.state.name for task in tasks.values()} == {"Cached", "Frozen"}
    assert not Path(".usd").exists()


def test_the_order_is_dvcs(inside: Path) -> None:
    planned = in_project(inside, sys.executable, "-m", "dvc", "repro", "--dry", "--force").splitlines()
    order = [stage.name for stage in read_dag() if not stage.frozen]
    assert order == [line.split("'")[1] for line in planned if line.startswith("Running stage")]
    assert [stage.name for stage in read_dag(["train@a"])] == ["render", "validate", "base", "train@a"]


@pytest.fixture(scope="module")
def dask() -> Iterator[str]:
    """The scheduler of a cluster of two workers."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR) as cluster:
        yield cluster.scheduler_address


def test_the_work_of_a_stage_fans_out_over_tasks(inside: Path, dask: str) -> None:
    from flows.pipeline import reproduce

    parts = {f"render {number}/5" for number in range(1, 6)}  # of 8 items each
    for scheduler in (None, dask):
        Path(".usd/spread-render").touch()
        state = run(reproduce, targets=["render"], force=True, dask=scheduler)
        assert tasks_of(state, 6).keys() == {"render"} | parts

    Path(".usd/spread-render").touch()
    state = run(reproduce, targets=["render"], force=True, dask="tcp://127.0.0.1:9")
    assert "no scheduler at tcp://127.0.0.1:9" in state.message


@pytest.mark.usefixtures("serving")
def test_dask_workers_render_annotate_and_shard_the_same_bytes(
    inside_tiny: Path, dask: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.fanout import environment
    from flows.pipeline import reproduce
    from usd.stages import annotate, render, shard

    with api() as client:
        flow_run = client.create_flow_run(reproduce)
    monkeypatch.setattr("prefect.runtime.flow_run.id", str(flow_run.id), raising=False)
    for name, value in environment(dask).items():
        monkeypatch.setenv(name, value)
    scenes, annotated, shards = (tmp_path / name for name in ("scenes", "annotated", "shards"))
    render.main(scenes)
    annotate.main(scenes, annotated)
    shard.main(scenes, annotated, Path("validation"), shards)
    with api() as client:
        assert {task.name.split()[0] for task in client.read_task_runs()} >= {"render", "annotate", "shard"}
    for path in (path for folder in ("scenes", "annotated", "shards") for path in Path(folder).rglob("*.*")):
        assert path.read_bytes() == (tmp_path / path).read_bytes(), path


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
    state = run(train, variant="a")
    assert state.is_failed()
    assert "prefect gcl create no-such-limit --limit 1" in state.message


@pytest.mark.parametrize(
    ("code", "output", "retried", "message"),
    [
        (255, "ERROR: failed to run: python, exited with -9", True, "killed by signal 9"),
        (255, "ERROR: failed to run: python, exited with 143", True, "killed by signal 15"),
        (137, "", True, "killed by signal 9"),  # DVC itself
        (255, "OSError: [Errno 5] Input/output error\nERROR: failed to reproduce: exited with 1", True, "Errno 5"),
        (255, "ERROR: 'models' is busy, it is being blocked by:", True, "busy"),
        (255, "error: gate: speedup = 3\nERROR: exited with 1", False, "gate: speedup = 3"),
        (255, "error: out: could not be written: Input/output error\nERROR: exited with 1", True, "not be written"),
        (255, "error: photos: Input/output error\nERROR: exited with 1", False, "photos"),  # a stage's own word
        (255, "ValueError: no\nERROR: failed to reproduce: exited with 1", False, "exit status 1: ValueError: no"),
    ],
)
def test_only_passing_faults_are_retried(code: int, output: str, retried: bool, message: str) -> None:
    from flows.processes import Finished
    from flows.stages import StageFailed, check_outcome, helped_by_retry

    with pytest.raises(StageFailed, match=message) as found:
        check_outcome("stage", Finished(code, output))
    assert helped_by_retry(found.value) == retried


def test_a_frozen_stage_without_its_outputs_is_an_error() -> None:
    from flows import processes, stages

    running = processes.Processes()
    with pytest.raises(stages.StageFailed, match="base: frozen, and models/base is missing: dvc unfreeze base"):
        stages.keep_frozen.fn("base", (Path("models/base"),), running)
    with pytest.raises(processes.Stopped):
        running.check()


def test_an_unknown_stage_is_an_error(inside: Path) -> None:
    from flows.pipeline import evaluate

    state = run(evaluate, variant="a")
    assert state.is_failed()
    assert "'evaluate@a' not found" in state.message


def test_a_grid_of_experiments_is_tabled_and_leaves_the_project_alone(inside: Path) -> None:
    from flows.experiments import ablation

    before = in_project(inside, "git", "status", "--short")
    state = run(ablation, grid={"train.rate": [5, 0, 10]}, targets=["train@a"])  # the second divides by zero
    assert state.is_failed()
    first, failed, second = sorted(tasks_of(state, 3))
    assert f"{failed}: exit status 1: " in state.message
    assert "ZeroDivisionError" in state.message
    rows = {row["value"]: row for row in artifact("experiments")}
    assert rows["train.rate"] == {"value": "train.rate", "project": 2, first: 5, second: 10}
    loss = rows["results/a/metrics.json: loss"]
    assert (loss["project"], loss[first], loss[second]) == (0.5, 0.2, 0.1)
    assert not [name for name in rows if "results/b" in name]  # train@b was not run
    assert in_project(inside, "git", "status", "--short") == before


def test_a_training_with_overrides_leaves_the_project_alone(inside: Path) -> None:
    from flows.pipeline import train

    before = in_project(inside, "git", "status", "--short")
    assert run(train, variant="a", overrides={"train.rate": 8}).is_completed()
    assert {row["value"]: row for row in artifact("experiments")}["train.rate"]["project"] == 2
    assert in_project(inside, "git", "status", "--short") == before


def start_waiting(project: Path, stage: str = "train@a", what: str = "wait") -> tuple[Any, int]:
    """Start the deployment with a stage that never ends: its flow run, and the stage's process."""
    from prefect.deployments import run_deployment

    (project / f".usd/{what}-{stage}").touch()
    parameters = {"targets": [stage], "force": True}
    flow_run = run_deployment("reproduce/test", parameters=parameters, timeout=0)
    wait_for((project / ".usd/pid").exists)
    return flow_run, int(wait_for((project / ".usd/pid").read_text))


def state_of(flow_run: Any) -> Any:
    with api() as client:
        return client.read_flow_run(flow_run.id).state


@pytest.mark.parametrize(("stage", "what"), [("train@a", "wait"), ("render", "nap"), ("render", "deaf")])
def test_cancelling_stops_the_stage_and_unlocks_dvc(inside: Path, stage: str, what: str) -> None:
    from prefect.states import Cancelling

    flow_run, pid = start_waiting(inside, stage, what)
    workers = wait_for(lambda: psutil.Process(pid).children(recursive=True)) if what == "nap" else []
    with api() as client:
        client.set_flow_run_state(flow_run.id, Cancelling())
    wait_for(lambda: gone(pid))
    wait_for(lambda: all(gone(worker.pid) for worker in workers))
    wait_for(lambda: state_of(flow_run).is_cancelled())
    shutil.rmtree(".usd")
    assert_unlocked(inside)


def test_a_killed_flow_takes_its_stage_along_and_the_next_run_resumes(inside: Path) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    from flows.pipeline import train

    flow_run, pid = start_waiting(inside)
    engine = next(p for p in psutil.Process(pid).parents() if "prefect.engine" in p.cmdline())
    engine.kill()
    wait_for(lambda: gone(pid))
    wait_for(lambda: state_of(flow_run).is_crashed())
    assert_unlocked(inside)
    with api() as client:  # its lease on the GPU ends by itself after a minute
        client.update_global_concurrency_limit("gpu", GlobalConcurrencyLimitUpdate(active_slots=0))
    assert run(train, variant="a").is_completed()
    assert ("resume", "train@a") in diary()


def test_a_busy_gpu_is_waited_for_until_the_run_is_cancelled(inside: Path) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.deployments import run_deployment
    from prefect.states import Cancelling

    with api() as client:
        client.update_global_concurrency_limit("gpu", GlobalConcurrencyLimitUpdate(active_slots=1))
        flow_run = run_deployment("reproduce/test", parameters={"targets": ["train@a"], "force": True}, timeout=0)
        wait_for(lambda: Path(".usd/diary").exists() and ("end", "validate") in diary())
        time.sleep(3)
        assert {name for what, name in diary()} == {"render", "validate"}
        client.set_flow_run_state(flow_run.id, Cancelling())
        wait_for(lambda: state_of(flow_run).is_cancelled())
        assert client.read_global_concurrency_limit_by_name("gpu").active_slots == 1
        client.update_global_concurrency_limit("gpu", GlobalConcurrencyLimitUpdate(active_slots=0))
    assert_unlocked(inside)


def test_another_deployment_waits_for_its_turn(inside: Path) -> None:
    from prefect.deployments import run_deployment
    from prefect.states import Cancelling

    first, _ = start_waiting(inside)
    second = run_deployment("validate/often", timeout=0)
    time.sleep(3)
    assert state_of(second).is_scheduled()
    with api() as client:
        client.set_flow_run_state(first.id, Cancelling())
        wait_for(lambda: state_of(second).is_completed())
        assert client.read_flow_run(first.id).end_time <= client.read_flow_run(second.id).start_time


def test_two_runs_of_a_deployment_do_not_overlap(inside: Path) -> None:
    from datetime import UTC, datetime, timedelta

    from prefect.states import Cancelled, Pending, Scheduled

    later = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
    with api() as client:
        deployment = client.read_deployment_by_name("reproduce/test")
        first, second = (client.create_flow_run_from_deployment(deployment.id, state=later) for _ in range(2))
        client.set_flow_run_state(first.id, Pending())
        client.set_flow_run_state(second.id, Pending())
        assert state_of(first).is_pending()
        assert state_of(second).is_cancelled()
        client.set_flow_run_state(first.id, Cancelled())


def test_what_a_power_cut_leaves_behind_is_cleared_at_the_next_start(inside: Path) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.states import Running

    from flows.serve import end_left_over_runs

    with api() as client:
        client.update_global_concurrency_limit("gpu", GlobalConcurrencyLimitUpdate(active_slots=1))
        deployment = client.read_deployment_by_name("reproduce/test")
        flow_run = client.create_flow_run_from_deployment(deployment.id, state=Running())
        end_left_over_runs(client)
        assert state_of(flow_run).is_crashed()
        assert client.read_global_concurrency_limit_by_name("gpu").active_slots == 0


def test_a_schedule_fires_and_the_worker_runs_it(inside: Path) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.filters import DeploymentFilter

    with api() as client:
        deployment = client.read_deployment_by_name("validate/often")
        only = DeploymentFilter.model_validate({"id": {"any_": [deployment.id]}})
        client.update_deployment(deployment.id, DeploymentUpdate(paused=False))
        wait_for(lambda: any(run.state.is_completed() for run in client.read_flow_runs(deployment_filter=only)))
        client.update_deployment(deployment.id, DeploymentUpdate(paused=True))


def test_a_killed_worker_takes_its_stage_along_and_a_new_start_resumes(
    inside: Path, serving: "subprocess.Popen[bytes]"
) -> None:
    from prefect.deployments import run_deployment

    flow_run, pid = start_waiting(inside)
    send_everything()
    command = ["prefect", "worker", "start"]
    children = psutil.Process(serving.pid).children(recursive=True)
    next(child for child in children if child.cmdline()[2:5] == command).kill()
    assert serving.wait(120) == 1
    assert gone(pid)
    assert_unlocked(inside)

    again = serving_process.start(inside, int(os.environ["PREFECT_API_URL"].split(":")[2].split("/")[0]))
    assert state_of(flow_run).is_crashed()
    parameters = {"targets": ["train@a"], "force": True}
    assert run_deployment("reproduce/test", parameters=parameters, timeout=180).state.is_completed()
    assert ("resume", "train@a") in diary()

    children = psutil.Process(again.pid).children(recursive=True)
    assert len(children) >= 4  # server and worker, each with its guard
    send_everything()
    serving_process.stop(again)  # Ctrl-C
    wait_for(lambda: all(gone(child.pid) for child in children), 10)

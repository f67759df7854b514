"""A small DVC project with the shape of ours, and how to look at what its flows did."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.conftest import ROOT
from tests.serving import wait_for

STEP = """
import json, os, signal, sys, time
from pathlib import Path
import yaml
from usd.parallel import CHUNK_BYTES, parallel_map

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
        assert list(parallel_map(len, ["ab"] * 40, name, 40)) == [2] * 40
    if asked("nap"):
        (control / "pid").write_text(str(os.getpid()))
        list(parallel_map(time.sleep, [100] * 4, name, 4, item_bytes=CHUNK_BYTES))
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
    if name == "gate":
        Path("timings.json").write_text(str(time.time()))
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
    deps: [results/validation, base.txt, lib]
    params: [train]
    outs:
    - results/${item.variant}: {cache: false}
    meta: {gpu: true}
  gate:
    cmd: python step.py gate gate.txt
    deps: [left.txt, right.txt, results/a, results/b]
    outs: [gate.txt: {cache: false}]
    meta: {writes: [timings.json]}
metrics: [results/a/metrics.json, results/b/metrics.json]
"""

RATES = itertools.count(100)  # of `change_rate`; the tests name smaller ones
OURS = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = [f"{each['entrypoint'].split(':')[1]}/{each['name']}" for each in OURS["deployments"]]


def prefect_yaml() -> str:
    """Our deployments, with their schedules off, and two for the tests."""
    ours = [each | {"schedules": []} for each in OURS["deployments"]]
    same = {key: ours[0][key] for key in ("concurrency_limit", "work_pool")}
    test = {"name": "test", "entrypoint": "flows/pipeline.py:reproduce"} | same
    other = {"name": "other", "entrypoint": "flows/pipeline.py:validate"} | same
    return yaml.safe_dump({"pull": OURS["pull"], "deployments": [*ours, test, other]})


def in_project(project: Path, *command: str) -> str:
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True, timeout=60).stdout


def as_committed(project: Path) -> Path:
    """The project with its files as in git and a clean .usd."""
    in_project(project, "git", "checkout", "--quiet", ".")
    shutil.rmtree(project / ".usd", ignore_errors=True)
    (project / ".usd").mkdir()
    return project


def send_everything() -> None:
    """What Prefect in this process has yet to tell the server."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


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


def change_rate() -> None:
    """Give the trainings a rate that they have not had, so that they run again, and nothing before them does."""
    Path("params.yaml").write_text(f"train: {{rate: {next(RATES)}}}\n")


def start_waiting(project: Path, stage: str = "train@a", what: str = "wait") -> tuple[Any, int]:
    """Start the deployment with a stage that never ends: its flow run, and the stage's process."""
    from prefect.deployments import run_deployment

    (project / f".usd/{what}-{stage}").touch()
    training = stage.startswith("train")
    if training:
        change_rate()
    parameters = {"targets": [stage], "force": not training}
    flow_run = run_deployment("reproduce/test", parameters=parameters, timeout=0)
    wait_for((project / ".usd/pid").exists)
    return flow_run, int(wait_for((project / ".usd/pid").read_text))


def state_of(flow_run: Any) -> Any:
    with api() as client:
        return client.read_flow_run(flow_run.id).state

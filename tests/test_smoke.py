"""The whole DAG, in a temporary clone, at tiny size, by hand and on a real Prefect server."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import PIL.Image
import pytest
import requests
import yaml
from requests.adapters import HTTPAdapter, Retry

from tests import serving
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PORT = serving.free_port()
ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PREFECT_API_URL": f"http://127.0.0.1:{PORT}/api",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
}


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / ".usd/prefect")}
    found = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not check or found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the work tree with the smoke parameters, in a folder whose name is not plain."""
    folder = tmp_path_factory.mktemp("clone") / "my project"
    run(ROOT, "git", "clone", "--quiet", str(ROOT), str(folder))
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    run(folder, sys.executable, "-m", "usd.cli", "profile", "profiles/smoke.yaml")
    return folder


@pytest.fixture(scope="module")
def served(clone: Path) -> Iterator[Path]:
    """The clone, with its deployments served."""
    (clone / ".usd").mkdir(exist_ok=True)
    serve = serving.start(clone, PORT, {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(clone)})
    yield clone
    serving.stop(serve)


def call(method: str, path: str, question: object = None) -> Any:
    """Prefect's answer; like its own command, which would take seconds, this asks again while the server is busy."""
    with requests.Session() as session:
        busy = Retry(9, backoff_factor=0.5, status_forcelist=[503], allowed_methods=None)
        session.mount("http://", HTTPAdapter(max_retries=busy))
        answer = session.request(method, f"{ENVIRONMENT['PREFECT_API_URL']}/{path}", json=question, timeout=30)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def flow_runs(*states: str) -> Any:
    """The newest first."""
    question = {"flow_runs": {"state": {"type": {"any_": states}}}, "sort": "END_TIME_DESC"}
    return call("POST", "flow_runs/filter", question)


def artifact(key: str) -> str:
    """The newest artifact of a key."""
    question = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": 1}
    return str(call("POST", "artifacts/filter", question)[0]["data"])


def experiments() -> dict[str, dict[str, Any]]:
    """The newest table of experiments: by parameter or metric, the project's value and each experiment's."""
    return {row["value"]: row for row in json.loads(artifact("experiments"))}


def test_the_dag_runs_from_nothing_and_then_has_nothing_to_do(served: Path) -> None:
    """The data by hand, the rest by the worker, and by hand again."""
    run(served, "dvc", "repro", "shard")
    run(served, "prefect", "deployment", "run", "reproduce/nightly", "--watch")
    for name in ("report.md", "report.html", "gate.json", "benchmark.json", "us_diffusion/metrics.json"):
        assert (served / "results" / name).stat().st_size > 0
    assert "image2depth" in artifact("grids")
    assert "floor_ratio" in artifact("metrics")  # of `dvc metrics diff` and `dvc params diff`, against HEAD
    assert "train.steps" in artifact("parameters")
    lock = (served / "dvc.lock").read_text()
    again = run(served, "dvc", "repro")
    assert "stage: 'base' is frozen" in again.stderr
    assert "Data and pipelines are up to date" in again.stdout + again.stderr
    assert (served / "dvc.lock").read_text() == lock
    run(served, "dvc", "plots", "diff", "HEAD")
    assert "#Denoising" in (served / "dvc_plots/index.html").read_text()


def test_a_scheduled_validation_names_a_planted_bad_sample(served: Path) -> None:
    picture = next((served / "data/annotated/train").glob("*.depth.png"))
    sound = picture.read_bytes()
    picture.write_bytes(sound[: len(sound) // 2])
    deployment = f"deployments/{call('GET', 'deployments/name/validate/hourly')['id']}"
    # later than the server takes to see it, which would else wait for the second run
    soon = {"interval": 60, "anchor_date": (datetime.now(UTC) + timedelta(seconds=12)).isoformat()}
    call("PATCH", deployment, {"schedules": [{"schedule": soon}]})
    found = serving.wait_for(lambda: flow_runs("FAILED"), 300)  # not of what came due before, which may run first
    call("PATCH", deployment, {"schedules": []})
    serving.wait_for(lambda: not flow_runs("PENDING", "RUNNING"), 300)
    assert "the data fail validation" in found[0]["state"]["message"]
    key = picture.name.split(".")[0]
    assert key in artifact("validation")
    picture.write_bytes(sound)
    run(served, "dvc", "repro", "validate")
    assert key not in (served / "results/validation/summary.md").read_text()


def test_experiments_try_other_parameters_and_leave_the_project_alone(served: Path) -> None:
    """By hand, and by the weekly deployment with a grid of one."""
    before = run(served, "git", "status", "--short").stdout
    settings = ["-S", "train.ess_steps=3", "-S", "validate.min_samples=9"]
    run(served, "dvc", "exp", "run", "--temp", "--name", "by-hand", *settings, "validate")
    grid = {"variants.us_diffusion.feedback_weight": [0.3], "train.ess_steps": [3]}
    run(served, "prefect", "deployment", "run", "--watch", "sweep/weekly", "--param", f"grid={json.dumps(grid)}")
    rows = experiments()
    (weekly,) = rows["train.ess_steps"].keys() - {"value", "project"}
    assert (rows["train.ess_steps"]["project"], rows["train.ess_steps"][weekly]) == (10, 3)
    measured = rows["results/us_diffusion/metrics.json: image2map.depth.rmse"]
    assert measured["project"] != measured[weekly]
    shown = run(served, "dvc", "exp", "show", "--csv").stdout
    assert "by-hand" in shown
    assert weekly in shown
    assert run(served, "git", "status", "--short").stdout == before


def test_a_colleague_pulls_and_calls_the_model_without_training(served: Path, tmp_path: Path) -> None:
    """The commands of docs/review.md, section "A remote for the team", with a folder as the remote."""
    run(served, "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    run(served, "dvc", "push")
    run(served, "git", "add", "--all")
    run(served, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "Share")
    colleague, port = tmp_path / "colleague", str(serving.free_port())
    run(tmp_path, "git", "clone", "--quiet", str(served), str(colleague))
    began = seconds_of_children()
    run(colleague, "dvc", "pull")
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(colleague)}
    with (tmp_path / "log").open("w") as log:
        demo = subprocess.Popen(["usd", "demo", "--port", port], cwd=colleague, env=environment, stdout=log, stderr=log)
    try:
        serving.wait_for(lambda: answers(f"http://127.0.0.1:{port}") or demo.poll() is not None, 180)
    finally:
        demo.kill()
        demo.wait()
    assert seconds_of_children() - began < 180, "dvc pull && usd demo"
    assert "model: models/us_diffusion\n" in (tmp_path / "log").read_text()
    assert "up to date" in run(colleague, "dvc", "status").stdout
    assert not (colleague / ".usd/runs").exists()


def seconds_of_children() -> float:
    """Processor time of the programs that have ended: on a busy machine they take longer, and not more of it."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def answers(url: str) -> bool:
    """Whether there is a page."""
    try:
        with urlopen(url, timeout=10) as page:
            return bool(page.status == 200)
    except OSError:
        return False


def test_a_gate_that_fails_ends_the_run(served: Path) -> None:
    params = served / "params.yaml"
    params.write_text(params.read_text().replace("floor_ratio: 99", "floor_ratio: 0.0001"))
    failed = run(served, "prefect", "deployment", "run", "reproduce/nightly", "--watch", check=False)
    assert failed.returncode != 0
    assert "RMSE / floor" in flow_runs("FAILED")[0]["state"]["message"]
    assert (served / "results/report.md").exists()
    assert "failed" in (served / "results/gate.json").read_text()
    by_hand = run(served, "dvc", "repro", check=False)
    assert by_hand.returncode != 0
    assert by_hand.stdout.count("Running stage") == 1  # the gate's
    (line,) = [line for line in by_hand.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: gate: ")
    assert "RMSE / floor is" in line


def test_your_own_pictures_become_a_model_that_is_called_and_go_again(clone: Path) -> None:
    """The commands of docs/own-data.md, section "Track your data", as they stand there."""
    (clone / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        blobs = PIL.Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        picture = blobs.resize((140, 100), PIL.Image.Resampling.BICUBIC)
        picture.save(clone / f"photos/{number or 'mine'}.jpg")
        if number:  # networks of so few steps see one class everywhere, which one map of a split may show
            PIL.Image.fromarray(np.asarray(picture)[..., 0] // 128).save(clone / f"photos/{number}.seg.png")
    run(clone, "usd", "profile", "profiles/smoke.yaml")  # the test of the gate has left another threshold
    run(
        clone,
        "git",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "commit",
        "--quiet",
        "--allow-empty",
        "--all",
        "-m",
        "scenes",
    )
    before = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    section = (clone / "docs/own-data.md").read_text().split("## Track your data")[1]
    forth, back = (block.split("```")[0] for block in section.split("```sh\n")[1:3])
    run(clone, "bash", "-ec", forth)
    lock = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
    assert lock["render"] == before["render"]  # nobody says that it drew photographs
    assert "photos" in {dep["path"] for dep in lock["ingest@photos"]["deps"]}
    assert {"data/photos", "models/networks"} <= {dep["path"] for dep in lock["annotate"]["deps"]}
    assert "up to date" in run(clone, "dvc", "status", "train@us_diffusion").stdout
    assert PIL.Image.open(clone / ".usd/mine/mine.png").size == (64, 64)
    run(clone, "bash", "-ec", back.replace("usd use rendered", "usd use rendered; usd profile profiles/smoke.yaml"))
    assert yaml.safe_load((clone / "dvc.lock").read_text())["stages"] == before
    assert not run(clone, "git", "diff", "--", "params.yaml").stdout
    assert "up to date" in run(clone, "dvc", "status", "train@us_diffusion").stdout

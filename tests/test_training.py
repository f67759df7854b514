"""A training as a stage: killed and run again, and spread over processes, it ends with the same numbers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from safetensors.torch import save_file

from tests.conftest import ROOT
from tests.test_track import records
from usd.annotators.small import PerceptionNet
from usd.tasks import TRAINED
from usd.training.checkpoint import CHECKPOINT

pytestmark = pytest.mark.slow

WAIT = 180  # seconds for a tiny training, which takes 15


@pytest.fixture(scope="module")
def project(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project with annotators and the bundled base in place."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(tiny / "shards", folder / "shards")
    for model in ("base", "control"):
        shutil.copytree(ROOT / "models" / model, folder / "models" / model)
    shutil.copy(tiny / "params.yaml", folder)
    net = PerceptionNet([8, 16])
    (folder / "annotators").mkdir()
    save_file(net.state_dict(), folder / "annotators/model.safetensors")
    (folder / "annotators/config.json").write_text('{"channels": [8, 16], "classes": 22}')
    return folder


def stage(project: Path, name: str) -> subprocess.Popen[bytes]:
    command = ["-m", "usd.stages.train", "us_diffusion", "shards", "annotators"]
    outs = [f"{name}/model", f"{name}/curve.csv", f"{name}/run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *command, *outs], cwd=project, env=environment, start_new_session=True)


def test_kill_9_and_run_again_gives_bit_identical_weights(project: Path) -> None:
    assert stage(project, "whole").wait(WAIT) == 0
    running = stage(project, "killed")
    checkpoint = project / "killed/run" / CHECKPOINT
    deadline = time.time() + WAIT
    while not checkpoint.exists() and running.poll() is None and time.time() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait(WAIT)
    assert checkpoint.exists()
    assert not (project / "killed/model").exists()
    assert stage(project, "killed").wait(WAIT) == 0
    for path in (project / "whole/model").rglob("*.safetensors"):
        other = project / "killed/model" / path.relative_to(project / "whole/model")
        assert path.read_bytes() == other.read_bytes()
    assert (project / "whole/curve.csv").read_text() == (project / "killed/curve.csv").read_text()
    runs = sorted((project / "killed/run/wandb").glob("offline-run-*"))
    assert len({run.name.rsplit("-", 1)[1] for run in runs}) == 1  # one run, written in two parts
    logged = {
        "/".join(item.nested_key) or item.key
        for record in records(next(runs[-1].glob("*.wandb")))
        for item in record.history.item
    }
    terms = {f"{term}/{task.name}" for term in ("denoising", "feedback") for task in TRAINED}
    assert logged >= terms | {"denoising", "feedback", "grad_norm", "lr", "seconds_per_step", "waited", "preview/_type"}
    assert logged >= {f"validation rmse/{task.name}" for task in TRAINED}


def test_two_processes_learn_what_one_does_at_the_same_global_batch(project: Path) -> None:
    params = (project / "params.yaml").read_text()
    losses = []
    for processes in (1, 2):
        folder = project / f"{processes}-processes"
        shutil.copytree(project / "shards", folder / "shards")
        shutil.copytree(project / "annotators", folder / "annotators")
        shutil.copytree(project / "models", folder / "models")
        settings = yaml.safe_load(params)
        # Adam's first steps follow the signs of gradients, even of those that are rounding errors: small steps
        settings["train"] |= {"batch_size": 2 // processes, "device": "cpu", "learning_rate": 1.0e-4}
        (folder / "params.yaml").write_text(yaml.safe_dump(settings))
        # `--multi_gpu` is torchrun, which goes without GPUs too; `--cpu` would want mpirun, or run one process
        launch = ["accelerate.commands.launch", "--num_machines", "1", "--num_processes", str(processes)]
        launch += ["--multi_gpu"] if processes > 1 else ["--cpu"]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
        command = [sys.executable, "-m", *launch, "-m", "usd.stages.train", "us_diffusion", "shards", "annotators"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([*command, "model", "curve.csv", "run"], cwd=folder, env=environment, check=True, timeout=WAIT)
        losses.append(pd.read_csv(folder / "curve.csv")["denoising"].to_numpy())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)

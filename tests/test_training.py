"""The loop: resume to the bit, refuse what does not fit, stop at a loss that is not finite."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from tests.conftest import ROOT
from tests.test_track import records
from usd.annotators.small import PerceptionNet
from usd.data.loader import Batch
from usd.determinism import accelerator_for
from usd.errors import UsdError
from usd.tasks import TRAINED
from usd.training.checkpoint import CHECKPOINT
from usd.training.loop import Plan, fit, learning_rate

pytestmark = pytest.mark.slow

PICTURE = torch.zeros(1, 3, 2, 2)


class Interrupted(Exception):
    """Stands for a crash."""


def batches(start: int) -> Iterator[Batch]:
    while True:
        yield Batch(TRAINED, torch.tensor([0]), *[PICTURE] * 4, ["prompt"], ["prompt"], ["train-00000"], start)
        start += 1


WIDE = 80  # 8-bit optimisers keep the state of less than 4096 weights in 32 bits


def train(
    folder: Path, crash_at: int | None = None, factor: float = 1.0, optimizer: str = "adamw", **changes
) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE))

    def loss(wrapped: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        if batch.index == crash_at:
            raise Interrupted
        x = torch.randn(4, WIDE, generator=torch.Generator().manual_seed(batch.index))
        return {"denoising": (wrapped(x) - x.flip(1)).square().mean() * factor}

    settings = {"steps": 12, "learning_rate": 0.1, "ema": 0.9, "warmup": 2, "checkpoint_every": 3, "log_every": 1}
    settings["optimizer"] = optimizer
    plan = Plan(run_dir=folder, identity={"seed": 1, **changes}, **settings)
    curve = fit(model, batches, loss, plan, accelerator_for("cpu", "no"))
    return {**model.state_dict(), "curve": torch.tensor([row["loss"] for row in curve])}


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
@pytest.mark.parametrize("crash_at", [1, 3, 7, 11])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, crash_at: int, optimizer: str) -> None:
    whole = train(tmp_path / "whole", optimizer=optimizer)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", crash_at, optimizer=optimizer)
    resumed = train(tmp_path / "cut", optimizer=optimizer)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_an_8_bit_optimiser_learns_alike_in_less_than_a_third_of_the_memory(tmp_path: Path) -> None:
    losses, sizes = [], []
    for optimizer in ("adamw", "adamw_8bit"):
        losses.append(train(tmp_path / optimizer, optimizer=optimizer)["curve"])
        with safe_open(tmp_path / optimizer / CHECKPOINT, "pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys() if name.endswith(".weight")}  # noqa: SIM118
        moments = [state[name] for name in state if name.startswith(("exp_avg", "state", "absmax"))]
        sizes.append(sum(moment.nbytes for moment in moments))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert sizes[1] < sizes[0] / 3


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(UsdError, match="belongs to a run with other data, seed"):
        train(tmp_path, seed=2, data="other")


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsdError, match="not a readable checkpoint"):
        train(tmp_path)


def test_a_loss_that_is_not_finite_names_step_task_and_keys(tmp_path: Path) -> None:
    with pytest.raises(UsdError, match=r"step 1, task image2depth, keys train-00000: loss is not finite"):
        train(tmp_path, factor=float("nan"))


def test_the_learning_rate_warms_up_and_decays() -> None:
    plan = Plan(steps=100, learning_rate=1.0, run_dir=Path(), warmup=10)
    rates = [learning_rate(step, plan) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


WAIT = 180  # seconds for a tiny training, which takes 15


@pytest.fixture(scope="module")
def project(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project with annotators and the bundled base in place."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(tiny / "shards", folder / "shards")
    shutil.copytree(ROOT / "models/base", folder / "models/base")
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
    assert logged >= terms | {"denoising", "feedback", "grad_norm", "lr", "seconds_per_step", "preview/_type"}
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

"""A training as a stage: killed and run again, and spread over processes, it ends with the same numbers."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from accelerate import Accelerator

from tests.conftest import ROOT
from tests.test_track import records
from usd import config
from usd.config.profiles import change
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.errors import UsdError
from usd.model.base import load_base
from usd.stages import train
from usd.tasks import TRAINED
from usd.training.checkpoint import CHECKPOINT
from usd.training.finetune import finetune

pytestmark = pytest.mark.slow

WAIT = 180  # seconds for a tiny training, which takes 15
OUTS = ("model", "curve.csv", "run")


def train_here(folder: Path) -> None:
    """The stage, in this process."""
    train.main("us_diffusion", "shards", Path("annotators"), *(folder / out for out in OUTS))


def start_training(folder: Path) -> "subprocess.Popen[bytes]":
    """The stage, in a process of its own that can be killed."""
    command = [sys.executable, "-m", "usd.stages.train", "us_diffusion", "shards", "annotators"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*command, *(folder / out for out in OUTS)], env=environment, start_new_session=True)


def test_kill_9_and_run_again_gives_bit_identical_weights(trainable: Path) -> None:
    change([{"train": {"preview_every": 4}}])
    train_here(trainable / "whole")
    running = start_training(trainable / "killed")
    checkpoint = trainable / "killed/run" / CHECKPOINT
    deadline = time.time() + WAIT
    while not checkpoint.exists() and running.poll() is None and time.time() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait(WAIT)
    assert checkpoint.exists()
    assert not (trainable / "killed/model").exists()
    train_here(trainable / "killed")
    for path in (trainable / "whole/model").rglob("*.safetensors"):
        other = trainable / "killed/model" / path.relative_to(trainable / "whole/model")
        assert path.read_bytes() == other.read_bytes()
    assert (trainable / "whole/curve.csv").read_text() == (trainable / "killed/curve.csv").read_text()
    runs = sorted((trainable / "killed/run/wandb").glob("offline-run-*"))
    assert len({run.name.rsplit("-", 1)[1] for run in runs}) == 1  # one run, written in two parts
    logged = {
        "/".join(item.nested_key) or item.key
        for record in records(next(runs[-1].glob("*.wandb")))
        for item in record.history.item
    }
    terms = {f"{term}/{task.name}" for term in ("denoising", "feedback") for task in TRAINED}
    assert logged >= terms | {"denoising", "feedback", "grad_norm", "lr", "seconds_per_step", "waited", "preview/_type"}
    assert logged >= {f"validation rmse/{task.name}" for task in TRAINED}


def test_a_checkpoint_of_other_inputs_is_not_resumed(trainable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, shards, cpu = config.load(), Shards.open("shards"), accelerator_for("cpu", "no")
    short = replace(params.train, steps=1, checkpoint_every=1)

    def train_one(shift: float = 0.0, **changes: float) -> None:
        base, variant = load_base(short.base), replace(params.variant("us_diffusion"), **changes)
        base.unet.conv_out.bias.data += shift
        finetune(base, Path("annotators"), shards, short, variant, Path("run"), cpu)

    train_one()
    with monkeypatch.context() as patch:
        patch.setattr(Accelerator, "num_processes", 2)
        with pytest.raises(UsdError, match="to a run with other processes; delete it"):
            train_one()
    for place in ("annotators", "models/control"):
        Path(place, "README.md").write_text("others")
    shards.digest = "other"
    others = "annotators, base weights, data, start, variant"
    with pytest.raises(UsdError, match=f"to a run with other {others}; delete it"):
        train_one(shift=1.0, self_estimates=0.5)


def test_two_processes_learn_what_one_does_at_the_same_global_batch(trainable: Path) -> None:
    # Adam's first steps follow the signs of gradients, even of those that are rounding errors: small steps
    change([{"train": {"checkpoint_every": 9, "device": "cpu", "learning_rate": 1.0e-4, "batch_size": 2}}])
    train_here(trainable / "one")
    change([{"train": {"batch_size": 1}}])
    # `--multi_gpu` is torchrun, which goes without GPUs too; `--cpu` would want mpirun, or run one process
    launch = ["accelerate.commands.launch", "--num_machines", "1", "--num_processes", "2", "--multi_gpu"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
    command = [sys.executable, "-m", *launch, "-m", "usd.stages.train", "us_diffusion", "shards", "annotators"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([*command, *(f"two/{out}" for out in OUTS)], env=environment, check=True, timeout=WAIT)
    one, two = (pd.read_csv(trainable / f"{count}/curve.csv")["denoising"] for count in ("one", "two"))
    assert two.to_numpy() == pytest.approx(one.to_numpy(), rel=1e-3)

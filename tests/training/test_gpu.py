"""On a GPU all tensors of an operation are on it. There is none here, so stages run on a pretended one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.conftest import ROOT
from tests.pretend import pretended_device
from usd.config.profiles import change
from usd.model.control import Denoiser
from usd.stages import annotators, base, benchmark, train, yardsticks
from usd.training import variant

pytestmark = pytest.mark.slow

FEW = {"step_counts": [1], "items": 2, "curve_items": 2, "baseline_steps": 2}
FAST = {"batch_sizes": [1]}


@pytest.fixture
def gpu(trainable: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device that stages find."""
    change([{stage: {"steps": 1} for stage in ("annotators", "base", "train")}, {"evaluate": FEW, "benchmark": FAST}])
    with pretended_device() as device:
        monkeypatch.setattr(Accelerator, "device", device)
        yield device


def test_training(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    change([{"train": {"preview_every": 1, "checkpoint_every": 1, "ess_steps": 3}}])
    devices = set()

    def save(_: object, denoiser: Denoiser, *others: object) -> None:
        devices.update(weight.device for weight in denoiser.parameters())
        Path("model").mkdir()

    monkeypatch.setattr(variant, "save", save)
    train.main("us_diffusion", "shards", Path("annotators"), Path("model"), Path("curve.csv"), Path("run"))
    assert devices == {gpu}


@pytest.mark.usefixtures("gpu")
def test_training_of_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    change([{"base": {"batch_size": 12}}])
    monkeypatch.setattr(base, "save_base", lambda base, _: None)
    base.main("shards", Path("base"), Path("run"))


@pytest.mark.usefixtures("gpu")
def test_training_of_annotators() -> None:
    annotators.main("shards", Path("networks"), Path("networks.json"), Path("run"))


@pytest.mark.usefixtures("gpu")
def test_evaluation_and_benchmark() -> None:
    base, control, reference = (ROOT / "models" / name for name in ("base", "control", "reference"))
    yardsticks.main("shards", Path("annotators"), base, control, Path("yardsticks"))
    benchmark.main("shards", reference, reference, ROOT / "results", Path("settings.json"), Path("times.json"))

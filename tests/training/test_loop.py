"""The loop: it resumes to the bit, refuses what does not fit, and stops at a loss that is not finite."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import safe_open
from torch import nn

from tests.conftest import ROOT, written_elsewhere
from usd import config
from usd.data.loader import Batch
from usd.determinism import accelerator_for
from usd.errors import UsdError
from usd.tasks import TRAINED
from usd.training.checkpoint import CHECKPOINT, is_done, mark_done
from usd.training.loop import fit, write_curve
from usd.training.optimizer import learning_rate

PARAMS = config.load(ROOT / "params.yaml").annotators
PICTURE = torch.zeros(1, 3, 2, 2)


class Interrupted(Exception):
    """Stands for a crash."""


def batches(start: int) -> Iterator[Batch]:
    while True:
        yield Batch(TRAINED, torch.tensor([0]), *[PICTURE] * 4, ["prompt"], ["prompt"], ["train-00000"], start)
        start += 1


WIDE = 80  # 8-bit optimisers keep the state of less than 4096 weights in 32 bits


def train(
    folder: Path,
    crash_at: int | None = None,
    factor: float = 1.0,
    optimizer: str = "adamw",
    stream: Callable[[int], Iterator[Batch]] = batches,
    log: Callable[[int, dict[str, float]], None] = lambda step, row: None,
    settings: Mapping[str, float] | None = None,
    **changes,
) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE))

    def loss(wrapped: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        if batch.index == crash_at:
            raise Interrupted
        x = torch.randn(4, WIDE, generator=torch.Generator().manual_seed(batch.index))
        return {"denoising": (wrapped(x) - x.flip(1)).square().mean() * factor}

    changed = {"steps": 12, "learning_rate": 0.1, "ema_decay": 0.9, "warmup": 2, "checkpoint_every": 3, "log_every": 1}
    params = dataclasses.replace(PARAMS, optimizer=optimizer, **(changed | (settings or {})))
    identity = {"seed": 1, **changes}
    curve = fit(model, stream, loss, params, accelerator_for("cpu", "no"), folder, identity, log=log)
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


def test_a_gradient_that_is_not_finite_ends_the_run_before_the_weights_change(tmp_path: Path) -> None:
    model = nn.Linear(WIDE, WIDE)
    before = model.weight.detach().clone()
    params = dataclasses.replace(PARAMS, steps=1, warmup=0, checkpoint_every=1)

    def loss(wrapped: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        return {"denoising": (0 * wrapped(torch.ones(1, WIDE))).sum().sqrt()}  # 0, whose derivative is infinite

    with pytest.raises(UsdError, match="step 1: the gradient is not finite; lower its learning_rate"):
        fit(model, batches, loss, params, accelerator_for("cpu", "no"), tmp_path, {}, log=lambda step, row: None)
    assert torch.equal(model.weight, before)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_trained_model_computes_as_one_that_is_loaded(tmp_path: Path, precision: str) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # a process keeps one precision
    model, fresh = nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE)
    params = dataclasses.replace(PARAMS, steps=1)
    x = torch.randn(4, WIDE, generator=torch.Generator().manual_seed(0))

    def loss(wrapped: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        return {"denoising": wrapped(x).square().mean()}

    fit(model, batches, loss, params, accelerator_for("cpu", precision), tmp_path, {})
    AcceleratorState._reset_state(reset_partial_state=True)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(model(x), fresh(x))
    assert "forward" not in vars(model)  # its class's own, with all that decorates it


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
    params = dataclasses.replace(PARAMS, steps=100, learning_rate=1.0, warmup=10)
    rates = [learning_rate(step, params) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01


def test_accumulated_micro_batches_are_a_mean(tmp_path: Path) -> None:
    still = {"learning_rate": 0.0}  # so that all losses are those of the initial weights
    single, double = (
        train(tmp_path / str(count), settings=still | {"gradient_accumulation_steps": count})["curve"]
        for count in (1, 2)
    )
    assert torch.allclose(double[:6], single.view(6, 2).mean(1))


def test_a_slow_stream_is_seen_in_the_log_and_not_in_the_curve(tmp_path: Path) -> None:
    def slow(start: int) -> Iterator[Batch]:
        for batch in batches(start):
            time.sleep(0.02)
            yield batch

    rows: list[dict[str, float]] = []
    train(tmp_path, stream=slow, log=lambda step, row: rows.append(row), settings={"log_every": 4})
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert all(0.02 <= row["waited"] <= row["seconds_per_step"] for row in rows)
    with safe_open(tmp_path / CHECKPOINT, "pt") as file:
        assert "waited" not in file.metadata()["curve"]


def test_a_place_that_takes_no_checkpoint_is_said_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsdError, match=r"file/run/\S+: cannot be written: .*; nothing was started$"):
        train(tmp_path / "file/run", log=lambda step, row: pytest.fail("a step was done"))


def test_two_trainings_never_share_a_run(tmp_path: Path) -> None:
    said = "run: another process is writing it; wait until it has ended, or end it"
    with written_elsewhere(tmp_path / "run"), pytest.raises(UsdError, match=said):
        train(tmp_path / "run", log=lambda step, row: pytest.fail("a step was done"))
    assert "curve" in train(tmp_path / "run")


def test_an_optimiser_that_is_not_installed_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(UsdError, match=r"optimizer: adamw_8bit needs bitsandbytes; pip install .*\[gpu\]"):
        train(tmp_path, optimizer="adamw_8bit")


def test_a_run_is_done_for_its_own_parameters_only(tmp_path: Path) -> None:
    assert not is_done(tmp_path, {"seed": 1})
    mark_done(tmp_path, {"seed": 1, "channels": (8, 16)})
    assert is_done(tmp_path, {"seed": 1, "channels": (8, 16)})
    assert not is_done(tmp_path, {"seed": 2, "channels": (8, 16)})


def test_a_curve_names_steps_beyond_a_million_in_full(tmp_path: Path) -> None:
    rows = [{"step": 1_234_567, "loss": 0.12345678}, {"step": 1_234_568, "loss": float("nan"), "feedback": 1e-9}]
    write_curve(rows, tmp_path / "curve.csv")
    assert (tmp_path / "curve.csv").read_text() == "step,loss,feedback\n1234567,0.123457,\n1234568,nan,1e-09\n"

"""The device and the precision that are asked for."""

import os

import pytest
from accelerate.state import AcceleratorState

from usd.determinism import accelerator_for, device_for
from usd.errors import UsdError


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("cuda", "no", "device: cuda was asked for, but no GPU is visible; set it to auto or cpu"),
        ("auto", "fp16", "precision: fp16 needs a GPU; set it to bf16 or 'no'"),
        ("cpu", "fp16", "precision: fp16 needs a GPU"),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(
    device: str, precision: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    with pytest.raises(UsdError, match=message):
        accelerator_for(device, precision)


def test_evaluating_takes_a_device_in_whatever_precision_was_trained() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator_for("cpu", "bf16")
    assert device_for("cpu").type == "cpu"  # a second Accelerator of another precision is refused
    AcceleratorState._reset_state(reset_partial_state=True)
    device_for("cpu")
    assert not AcceleratorState._shared_state


def test_whoever_takes_a_device_has_deterministic_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command such as `usd encode` too, which is not a stage."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    device_for("cpu")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"

"""The device and the precision that are asked for."""

import pytest

from usd.determinism import accelerator_for
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

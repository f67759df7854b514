"""Seeds and a device set-up that give the same numbers again."""

import hashlib
import os

import torch
from accelerate import Accelerator

from usd.errors import UsdError


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on the numbers alone, such as (seed, step)."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def device_for(device: str) -> torch.device:
    """The device, for what does not train; `auto` takes a GPU if there is one.

    On a GPU, matrix products and convolutions in single precision use TF32: several times as fast, with 10 bits of
    mantissa. On a CPU they keep all 23.

    Raises:
        UsdError: the device is not available.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsdError("device: cuda was asked for, but no GPU is visible; set it to auto or cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, products on a GPU are not deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a tenth of the time
    found = None if device == "cpu" else torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    return found


def accelerator_for(device: str, precision: str) -> Accelerator:
    """Accelerate's device, precision and process set-up for a training; a process has one precision.

    Raises:
        UsdError: the device or the precision is not available.
    """
    cpu = device_for(device).type == "cpu"  # must be said, or processes do not find each other
    if cpu and precision == "fp16":
        raise UsdError("precision: fp16 needs a GPU; set it to bf16 or 'no'")
    return Accelerator(cpu=cpu, mixed_precision=precision)

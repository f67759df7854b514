"""Seeds and device set-up from which the same numbers come out again."""

import hashlib

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from usd.errors import UsdError


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator that depends on the numbers alone, such as (seed, step)."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def accelerator_for(device: str, precision: str) -> Accelerator:
    """Accelerate's device, precision and process set-up; `auto` takes a GPU where there is one."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsdError("device: cuda was asked for, but no GPU is visible; set it to auto or cpu")
    cpu = device == "cpu" or not torch.accelerator.is_available()  # must be said, or processes do not find each other
    if cpu and precision == "fp16":
        raise UsdError("precision: fp16 needs a GPU; set it to bf16 or 'no'")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a tenth of the time
    idle = DistributedDataParallelKwargs(find_unused_parameters=True)  # the light modules of the other tasks
    return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[idle])

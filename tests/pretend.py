"""A device to find tensors in the wrong place with: values are on the CPU, but PyTorch takes them to be elsewhere.

It stands for a GPU where there is none: an operation on tensors of two devices fails as it does there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretended"
ATEN = torch.ops.aten
COPIES = (ATEN._to_copy.default, ATEN.copy_.default, ATEN._foreach_copy_.default)  # from one device to another
INDEXED = (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default, ATEN._index_put_impl_.default)


class Elsewhere(Tensor):
    """A tensor on the pretended device."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        """A tensor like `held`, which keeps the values."""
        found: Elsewhere = Tensor._make_wrapper_subclass(
            cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=torch.device(NAME, 0)
        )
        found.held = held
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it on the CPU."""
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, on the device of its arguments or the one that it is asked for.

    Raises:
        RuntimeError: its arguments are on both devices; numbers and indices may be on the CPU.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    here = [tensor for tensor in tensors if tensor.dim() and not isinstance(tensor, Elsewhere)]
    if there and here and func not in (*COPIES, *INDEXED):
        raise RuntimeError(
            f"{func}: tensors of {tuple(here[0].shape)} on the CPU and {tuple(there[0].shape)} elsewhere"
        )
    device, moves = kwargs.get("device"), bool(there)
    if device is not None:
        moves = torch.device(device).type == NAME
        kwargs = kwargs | ({"device": torch.device("cpu")} if moves else {})
    if func is ATEN.copy_.default:
        moves = isinstance(args[0], Elsewhere)
    known = {id(tensor.held): tensor for tensor in there}

    def bare(value: Any) -> Any:
        return value.held if isinstance(value, Elsewhere) else value

    def dressed(value: Any) -> Any:
        if id(value) in known:  # an operation in place
            return known[id(value)]
        return Elsewhere(value) if moves and isinstance(value, Tensor) else value

    return tree_map(dressed, func(*tree_map(bare, args), **tree_map(bare, kwargs)))


class Everywhere(TorchDispatchMode):
    """Also where no argument is on the pretended device, as when a tensor is made or moved."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Lists(TorchFunctionMode):
    """From lists to tensors and back PyTorch goes past the modes, so that is done on the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist:
            return args[0].cpu().tolist()
        if func is Tensor.__getitem__ and isinstance(args[1], tuple):
            args = args[0], tuple(torch.tensor(part) if isinstance(part, list) else part for part in args[1])
        device = kwargs.pop("device", None) if func is torch.tensor else None
        found = func(*args, **kwargs)
        return found if device is None else found.to(device)


class Backend(_DummyBackendModule):
    """The pretended device as PyTorch asks for it; a process that has it once always has it, so it can be away."""

    present = False

    def is_available(self) -> bool:
        return self.present

    def device_count(self) -> int:
        return int(self.present)


@cache
def backend() -> Backend:
    """The backend, registered once."""
    found = Backend()
    _setup_privateuseone_for_python_backend(NAME, found)
    return found


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """The device, which is there within the block only."""
    backend().present = True
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        # a thread for the device's backward passes is started with the process's first one, or not at all
        with Everywhere(), Lists(), torch.autograd.set_multithreading_enabled(False):
            yield torch.device(NAME, 0)
    finally:
        backend().present = False
        torch.__future__.set_overwrite_module_params_on_conversion(before)

"""Optimiser, learning rate and averaged weights of a training."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from usd.config import Optimisation
from usd.errors import UsdError

Named = list[tuple[str, nn.Parameter]]
Rate = Callable[[str, nn.Parameter], float]  # a weight's share of the learning rate


def learning_rate(step: int, params: Optimisation) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < params.warmup:
        return params.learning_rate * (step + 1) / params.warmup
    progress = (step - params.warmup) / max(1, params.steps - params.warmup)
    return params.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, params: Optimisation) -> None:
    """Give each group its share of the step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * learning_rate(step, params)


def new_optimizer(named: Named, params: Optimisation, rate: Rate) -> torch.optim.Optimizer:
    """AdamW with a group for each share of the learning rate; with 8 bits its state takes a quarter of the memory.

    Raises:
        UsdError: `adamw_8bit` is asked for, and bitsandbytes is not installed.
    """
    shares: dict[float, list[nn.Parameter]] = {}
    for name, weight in named:
        shares.setdefault(rate(name, weight), []).append(weight)
    groups: list[dict[str, Any]] = [{"params": weights, "rate": share} for share, weights in shares.items()]
    if params.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=params.weight_decay, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        remedy = "pip install --constraint constraints-extra.txt --editable '.[gpu]'"
        raise UsdError(f"optimizer: adamw_8bit needs bitsandbytes; {remedy}") from None
    optimizer: torch.optim.Optimizer = AdamW8bit(groups, weight_decay=params.weight_decay)
    return optimizer


def new_average(weights: list[nn.Parameter], decay: float) -> EMAModel | None:
    """The exponential moving average of the weights; None where `decay` is 0."""
    return EMAModel(weights, decay=decay, foreach=True) if decay else None


@contextmanager
def averaged(weights: list[nn.Parameter], average: EMAModel | None) -> Iterator[None]:
    """Within the block the weights are the averaged ones, if there are any."""
    if not average:
        yield
        return
    average.store(weights)
    average.copy_to(weights)
    try:
        yield
    finally:
        average.restore(weights)

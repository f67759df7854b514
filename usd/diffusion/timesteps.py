"""ESS, the Efficient Sampling Strategy: few timesteps, dense where noise is high, for training and sampling alike."""

import numpy as np
import torch
from torch import Tensor

from usd.config.values import Strategy
from usd.errors import UsdError

LAST = 999  # the last of the 1000 training timesteps
LISTS: dict[int, list[int]] = {  # paper, section on ESS
    5: [0, 289, 619, 879, 998],
    10: [0, 80, 289, 499, 619, 739, 819, 879, 939, 998],
    15: [0, 40, 80, 289, 394, 499, 619, 679, 739, 789, 819, 879, 909, 939, 998],
    20: [0, 100, 260, 420, 560, 680, 760, 820, 860, 890, 910, 930, 945, 955, 965, 975, 983, 990, 995, 998],
}


def timesteps(strategy: Strategy, count: int) -> list[int]:
    """`count` timesteps in ascending order, the highest among them.

    ESS counts that the paper does not list are read off the 10-list as a monotone quantile function. Below ten they
    take the nearest of its own entries, so that a model trained on the 10-list never samples a timestep it has not
    seen; one step is the highest timestep.

    Raises:
        UsdError: count is not between 1 and 999.
    """
    if not 1 <= count <= LAST:
        raise UsdError(f"the number of timesteps must be between 1 and {LAST}, not {count}")
    if strategy == "uniform":
        return [round(LAST * (i + 1) / count) for i in range(count)]
    if count in LISTS:
        return list(LISTS[count])
    quantiles = np.linspace(0, 1, len(LISTS[10]))
    wanted = np.linspace(0, 1, count) if count > 1 else np.ones(1)
    if count < len(LISTS[10]):
        return [LISTS[10][round(quantile * (len(LISTS[10]) - 1))] for quantile in wanted]
    steps = np.rint(np.interp(wanted, quantiles, LISTS[10])).astype(int)
    for i in range(count - 2, -1, -1):  # rounding may have made neighbours equal
        steps[i] = min(steps[i], steps[i + 1] - 1)
    return [int(step) for step in np.maximum(steps, np.arange(count))]


def sampling_timesteps(strategy: Strategy, count: int) -> list[int]:
    """The descending list for a sampler; ESS leaves out t = 0, where hardly any noise is left."""
    steps = timesteps(strategy, count)
    return [t for t in reversed(steps) if t > 0 or strategy == "uniform"]


def draw_timesteps(strategy: Strategy, count: int, batch: int, generator: torch.Generator) -> Tensor:
    """Training timesteps (batch,): uniform, or from the ESS list of `count` in antithetic pairs i, n − 1 − i.

    As in sampling t = 0 is left out.
    """
    if strategy == "uniform":
        return torch.randint(LAST + 1, (batch,), generator=generator)
    steps = torch.tensor(sampling_timesteps("ess", count))
    half = torch.randint(len(steps), ((batch + 1) // 2,), generator=generator)
    return steps[torch.cat([half, len(steps) - 1 - half])[:batch]]

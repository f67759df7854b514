"""SGA, the Separate & Gather Adapter, and the stacked encoder of Prompt Diffusion that it replaces.

SGA-E reads the example pair, SGA-Q the query. In each an indicator (the task) picks one of N light convolution
modules ("separate"), whose output goes through one shared module ("gather"). The sum of both is added to the control
branch's first features. It does not depend on the timestep: it is computed once per image.
"""

import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from usd.errors import UsdError

LIGHT = 3  # convolutions in a light module
SILU_GAIN = 1.68  # 1 / √E[SiLU(z)²] for a standard normal z
AdapterKind = Literal["separate_gather", "stacked", "query"]
NEGLIGIBLE = 1e-3  # a light module of less weight is not run


class SeparateGather(nn.Module):
    """Condition (B, c, H, W) in [0, 1] and indicator (B, N), rows summing to 1 → features (B, C, H/s, W/s).

    With N = 1 it is the stacked encoder of the baseline: same convolutions, shared by all tasks.
    """

    def __init__(self, inputs: int, tasks: int, widths: list[int], outputs: int, scale: int) -> None:
        super().__init__()
        if len(widths) <= LIGHT:
            raise UsdError(f"train.adapter_channels: {widths} must have more than the {LIGHT} of the light modules")
        light, shared = [inputs, *widths[:LIGHT]], widths[LIGHT - 1 :]
        halvings = int(math.log2(scale))
        grows = [i for i, (a, b) in enumerate(itertools.pairwise(shared)) if b > a]
        if halvings - 1 > len(grows):
            raise UsdError(
                f"train.adapter_channels: after the light modules {widths} grows {len(grows)} times; the base needs "
                f"{halvings - 1}, one a halving"
            )
        # the paper halves in a light module's last convolution; in the first it takes 3/4 of the time (two cores)
        self.light = nn.ModuleList(_convolutions(light, {0} if halvings else set()) for _ in range(tasks))
        self.shared = _convolutions(shared, set(grows[: halvings - 1]) if halvings else set())
        self.out = nn.Conv2d(shared[-1], outputs, 3, padding=1)
        nn.init.zeros_(self.out.weight)  # the branch starts as a copy of the base
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, condition: Tensor, indicator: Tensor) -> Tensor:
        """Features (B, C, H/scale, W/scale) of a condition (B, c, H, W) in [0, 1], given the indicator (B, N)."""
        x = condition * 2 - 1
        separate: Tensor | None = None
        for n, light in enumerate(self.light):
            rows = (~(indicator[:, n] <= NEGLIGIBLE)).nonzero()[:, 0]  # NaN shows in the result
            if len(rows):
                part = light(x[rows]) * indicator[rows, n, None, None, None]
                separate = part.new_zeros(len(x), *part.shape[1:]) if separate is None else separate
                separate = separate.index_add(0, rows, part)
        gathered: Tensor = self.out(self.shared(separate))
        return gathered


def _convolutions(widths: list[int], halve: set[int]) -> nn.Sequential:
    """3×3 convolutions with SiLU from width to width; those in `halve` have stride 2."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        convolution = nn.Conv2d(a, b, 3, stride=2 if i in halve else 1, padding=1)
        # keeps the second moment through SiLU; PyTorch's own would fade with every layer
        nn.init.normal_(convolution.weight, std=SILU_GAIN / math.sqrt(9 * a))
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        layers += [convolution, nn.SiLU()]
    return nn.Sequential(*layers)


class IndicatorNet(nn.Module):
    """Which task does the pair (B, 6, H, W) in [0, 1] show? Logits (B, N)."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(6, 16, 4, stride=4),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.SiLU(),
        )
        self.head = nn.Linear(64, tasks)

    def forward(self, pair: Tensor) -> Tensor:
        """The indicator's logits (B, N) for a pair (B, 6, H, W) in [0, 1]."""
        x = self.features(pair * 2 - 1)
        logits: Tensor = self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))
        return logits


class InContextAdapter(ModelMixin, ConfigMixin):
    """Example pair and query → what is added to the control branch's first features.

    Args:
        kind: `separate_gather` (SGA), `stacked` (the baseline, which knows no indicator) or `query`, which reads no
            example pair: a plain ControlNet.
        tasks: names of the trained tasks, in the order of the indicator.
        widths: of the convolutions; the first three make the light modules.
        outputs: C, the width of the base's first features.
        scale: pixels per latent and axis.
    """

    @register_to_config
    def __init__(self, kind: AdapterKind, tasks: list[str], widths: list[int], outputs: int, scale: int) -> None:
        super().__init__()
        branches = len(tasks) if kind == "separate_gather" else 1
        self.example = SeparateGather(6, branches, list(widths), outputs, scale) if kind != "query" else None  # SGA-E
        self.query = SeparateGather(3, branches, list(widths), outputs, scale)  # SGA-Q
        self.indicator = IndicatorNet(len(tasks)) if kind == "separate_gather" else None

    def start_from(self, query: "InContextAdapter") -> None:
        """Take over what reads the query: each light module becomes a copy of its one; SGA-E's output stays zero."""
        trained = query.query
        for light in self.query.light:
            light.load_state_dict(trained.light[0].state_dict())
        self.query.shared.load_state_dict(trained.shared.state_dict())
        self.query.out.load_state_dict(trained.out.state_dict())

    @apply_forward_hook
    def read_pair(self, pair: Tensor, indicator: Tensor) -> Tensor:
        """SGA-E's part of the features: of the pair (B, 6, H, W) in [0, 1]; a zero () where the pair is not read."""
        if self.example is None:
            return pair.new_zeros(())
        features: Tensor = self.example(pair, self._branches(indicator))
        return features

    @apply_forward_hook
    def read_query(self, query: Tensor, indicator: Tensor) -> Tensor:
        """SGA-Q's part of the features: of the query (B, 3, H, W) in [0, 1]."""
        features: Tensor = self.query(query, self._branches(indicator))
        return features

    def _branches(self, indicator: Tensor) -> Tensor:
        """The weights of the light modules; the baseline has only one, for all tasks."""
        return indicator if self.indicator is not None else indicator.new_ones(len(indicator), 1)

    @apply_forward_hook
    def infer(self, pair: Tensor) -> Tensor:
        """The indicator (B, N) read from the pair; for the baseline, which has none, uniform."""
        if self.indicator is None:
            return pair.new_full((len(pair), len(self.config.tasks)), 1 / len(self.config.tasks))
        logits: Tensor = self.indicator(pair)
        return logits.softmax(1)

    def named(self, task: str) -> Tensor:
        """The indicator (N,) of a task by name; for an unseen one the mean over the tasks of its direction."""
        names = list(self.config.tasks)
        if task in names:
            weights = F.one_hot(torch.tensor(names.index(task)), len(names)).float()
        else:
            same = torch.tensor([name.startswith("image2") == task.startswith("image2") for name in names]).float()
            weights = same / same.sum()
        return weights.to(self.device)

"""The choice of sampling, on the validation split: the same candidates for every variant."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from usd import config
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.evaluation.sampling import Candidate


@dataclass(frozen=True)
class Choice:
    """What was tried on validation in one direction: error by candidate, and what follows from it."""

    metric: str  # rmse or fd, the mean over the trained tasks
    tried: dict[Candidate, float]

    @property
    def best(self) -> Candidate:
        """The candidate with the least error; of equals the one with fewer steps."""
        return min(sorted(self.tried), key=self.tried.__getitem__)

    def guidance_scale(self, steps: int) -> float:
        """The best guidance scale at a step count; of the longest one tried, where `steps` was not."""
        counts = {candidate.steps for candidate in self.tried}
        known = steps if steps in counts else max(counts)
        same = {one: error for one, error in self.tried.items() if one.steps == known}
        return min(sorted(same), key=same.__getitem__).guidance_scale

    def within(self, budget: int) -> Candidate:
        """The best candidate of at most `budget` evaluations and, if there is one, more than the next smaller budget.

        A guided step costs two evaluations, so half as many steps fit. Above what was tried, the best guidance of the
        longest list decides.
        """
        counts = sorted({candidate.steps for candidate in self.tried})
        if budget > max(counts):
            scale = self.guidance_scale(budget)
            return Candidate(budget // 2 if scale > 1 else budget, scale)
        smaller = max((count for count in counts if count < budget), default=0)
        fitting = {one: error for one, error in self.tried.items() if smaller < one.nfe <= budget}
        fitting = fitting or {one: error for one, error in self.tried.items() if one.nfe <= budget}
        if not fitting:
            raise UsdError(
                f"evaluate.step_counts: no candidate takes at most {budget} evaluations; list a smaller number"
            )
        return min(sorted(fitting), key=fitting.__getitem__)

    def as_dict(self) -> dict[str, Any]:
        """For metrics.json: the choice, and all that was tried."""
        table: dict[str, dict[str, float]] = {}
        for candidate, error in self.tried.items():
            table.setdefault(str(candidate.steps), {})[str(candidate.guidance_scale)] = error
        return {
            "steps": self.best.steps,
            "guidance_scale": self.best.guidance_scale,
            "nfe": self.best.nfe,
            f"validation_{self.metric}": table,
        }


def choose(metric: str, params: config.Evaluate, ess_steps: int, error: Callable[[Candidate], float]) -> Choice:
    """Measure every candidate of section `evaluate`; of its step counts, those whose ESS list was trained.

    The counts are the same for variants that do not train on ESS, to which longer lists would be open too.

    Raises:
        UsdError: no list is part of the trained one, which has `ess_steps` timesteps.
    """
    trained = set(sampling_timesteps("ess", ess_steps))
    counts = [
        steps for steps in params.step_counts if trained.issuperset(Candidate(steps, 1.0).sampling("ess").timesteps)
    ]
    if not counts:
        raise UsdError(
            f"evaluate.step_counts: {params.step_counts} timesteps are not part of the trained list "
            f"(train.ess_steps: {ess_steps}); list {len(trained)}"
        )
    candidates = [Candidate(*pair) for pair in itertools.product(counts, params.guidance_scales)]
    return Choice(metric, {candidate: error(candidate) for candidate in candidates})

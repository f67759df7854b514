"""The sampling loop: x_T to x_0 over any list of timesteps, as a pure function."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError

Denoise = Callable[[Tensor, Tensor], Tensor]  # x_t (B, C, h, w) and t → the network's prediction (B, C, h, w)
OnStep = Callable[[int, Tensor, Tensor], Tensor]  # number of the step, t and x_t' → the x_t' to go on with
EVERYWHERE = (0, 1000)  # timesteps
OWN_WAYS = (  # settings with which a scheduler makes its own list of timesteps, or clamps x̂_0, as training does not
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "thresholding",
)


@dataclass(frozen=True)
class Sampling:
    """How one direction is sampled."""

    timesteps: list[int]  # descending
    guidance_scale: float = 1.0  # 1: no guidance

    @property
    def nfe(self) -> int:
        """Evaluations of the network per image."""
        return network_evaluations(len(self.timesteps), self.guidance_scale)


def network_evaluations(timesteps: int, guidance_scale: float) -> int:
    """Evaluations per image of that many timesteps; guidance runs the network twice at each."""
    return timesteps * (2 if guidance_scale > 1 else 1)


def usual_samplings(prediction_type: str | None, ess_steps: int, one_step_maps: bool = True) -> dict[str, Any]:
    """How a model is sampled in each direction before validation chose: along the ESS list, a map in one step.

    Of ε or v little can be read at the highest timestep, so a base that predicts them goes through the list for a map,
    too. So does a variant trained at every timestep (`one_step_maps` False): the baseline, which is one of them, does
    not read the direction off the pair.
    """
    steps = sampling_timesteps("ess", ess_steps)
    maps = steps[:1] if one_step_maps and prediction_type == "sample" else steps
    return {"image2map": asdict(Sampling(maps)), "map2image": asdict(Sampling(steps))}


def ddim(config: Mapping[str, Any]) -> DPMSolverMultistepScheduler:
    """Deterministic DDIM over any list of timesteps: first-order DPM-Solver++ (arXiv 2211.01095) is exactly that.

    `config` is that of any diffusers scheduler; its noise schedule and prediction type are kept.
    """
    return DPMSolverMultistepScheduler.from_config(
        config,
        algorithm_type="dpmsolver++",
        solver_order=1,
        final_sigmas_type="zero",
        **dict.fromkeys(OWN_WAYS, False),
    )


def set_timesteps(scheduler: Any, timesteps: Sequence[int], device: torch.device) -> None:
    """Have a diffusers scheduler visit exactly these timesteps.

    Raises:
        UsdError: the list does not descend within the schedule, or the scheduler takes no list.
    """
    name, steps = type(scheduler).__name__, list(timesteps)
    last = scheduler.config.num_train_timesteps - 1
    if not steps or any(a <= b for a, b in itertools.pairwise(steps)) or steps[0] > last or steps[-1] < 0:
        raise UsdError(f"timesteps: {steps} must descend and lie between {last} and 0")
    if "timesteps" not in inspect.signature(scheduler.set_timesteps).parameters:
        raise UsdError(
            f"{name}: takes no list of timesteps, such as ESS; use DPMSolverMultistepScheduler (DDIM, with "
            "solver_order=1) or EulerDiscreteScheduler"
        )
    try:
        scheduler.set_timesteps(timesteps=steps, device=device)
    except ValueError as error:
        raise UsdError(f"{name}: takes no list of timesteps as it is set: {error}") from error


@torch.no_grad()
def sample(
    denoise: Denoise,
    x_T: Tensor,
    scheduler: Any,
    timesteps: Sequence[int],
    generator: torch.Generator | list[torch.Generator] | None = None,
    on_step: OnStep | None = None,
    progress: Callable[[list[Tensor]], Iterable[Tensor]] = iter,
) -> Tensor:
    """x_0 (B, C, h, w) from standard normal x_T (B, C, h, w).

    Args:
        denoise: the network with its conditions, and guidance if any.
        scheduler: any of diffusers' that takes a list of timesteps, such as `ddim`.
        timesteps: a descending list.
        generator: for a scheduler that adds noise of its own.
        on_step: called after every step; it may replace x.
        progress: wraps the timesteps, for a progress bar.

    Raises:
        UsdError: see `set_timesteps`.
    """
    set_timesteps(scheduler, timesteps, x_T.device)
    random = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x: Tensor = x_T * scheduler.init_noise_sigma
    for number, t in enumerate(progress(list(scheduler.timesteps))):
        prediction = denoise(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(prediction, t, x, **random, return_dict=False)[0]
        x = on_step(number, t, x) if on_step else x
    return x

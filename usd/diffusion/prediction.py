"""What x_t, x_0, ε and a prediction tell of one another: x_t = √ᾱ_t·x_0 + √(1 − ᾱ_t)·ε, with a scheduler's ᾱ_t.

The network's output f(x_t) is an estimate of x_0 (`sample`), of ε (`epsilon`) or of v = √ᾱ_t·ε − √(1 − ᾱ_t)·x_0
(`v_prediction`). Latents are (B, C, h, w), timesteps (B,).
"""

from diffusers import DDIMScheduler
from torch import Tensor


def amplitudes(scheduler: DDIMScheduler, t: Tensor) -> tuple[Tensor, Tensor]:
    """√ᾱ_t of the signal and √(1 − ᾱ_t) of the noise, (B, 1, 1, 1)."""
    alpha_bar: Tensor = scheduler.alphas_cumprod.to(t.device)[t][:, None, None, None]
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def noise_beside(scheduler: DDIMScheduler, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """ε, which x_t holds beside √ᾱ_t·x_0. Where x_t is made of the truth x_0, that is the noise that was added."""
    signal, noise = amplitudes(scheduler, t)
    return (x_t - signal * x_0) / noise


def clean_estimate(scheduler: DDIMScheduler, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """x̂_0, the clean latents that a prediction of any type stands for; differentiable."""
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return prediction
    signal, noise = amplitudes(scheduler, t)
    if kind == "epsilon":
        return (x_t - noise * prediction) / signal
    return signal * x_t - noise * prediction  # v_prediction


def denoising_target(scheduler: DDIMScheduler, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """What the network should predict from x_t, however that was made: x_0, ε or v."""
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return x_0
    epsilon = noise_beside(scheduler, x_0, x_t, t)
    if kind == "epsilon":
        return epsilon
    signal, noise = amplitudes(scheduler, t)
    return signal * epsilon - noise * x_0  # v_prediction


def ddim_step(scheduler: DDIMScheduler, prediction: Tensor, x_t: Tensor, t: Tensor, later: Tensor) -> Tensor:
    """Where deterministic DDIM goes from x_t, at timesteps t (B,), for the timesteps `later` (B,)."""
    estimate = clean_estimate(scheduler, prediction, x_t, t)
    reached: Tensor = scheduler.add_noise(estimate, noise_beside(scheduler, estimate, x_t, t), later)
    return reached

"""`USDiffusionPipeline`: show it one example pair, it does the same to your query."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.utils import BaseOutput
from torch import Tensor

from usd.data.annotators import to_array
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.model.adapter import InContextAdapter
from usd.model.base import Base, decode, encode_text, load_base, save_base, scale_factor
from usd.model.control import Denoiser, channels_last, load_control, predict


@dataclass
class USDiffusionOutput(BaseOutput):
    """What a call returns."""

    images: Any  # list of PIL images, (B, H, W, 3) uint8, or (B, 3, H, W) in [0, 1]
    indicator: Tensor  # (B, N): the task weights the adapter used


class USDiffusionPipeline:
    """In-context image generation, in diffusers' conventions.

    A directory written by `save_pretrained` is complete: it holds the base as well, in diffusers' layout, and beside
    it `control/` and `adapter/`.
    """

    def __init__(self, base: Base, denoiser: Denoiser, scheduler: Any = None) -> None:
        self.base, self.denoiser = base, denoiser.eval()
        self.scheduler = scheduler or ddim(base)
        self.progress_bar: Callable[[list[int]], Any] = lambda steps: steps

    @property
    def device(self) -> torch.device:
        """Where the modules are."""
        return self.denoiser.unet.device

    def to(self, device: torch.device | str) -> "USDiffusionPipeline":
        """Move all modules."""
        self.base.to(device)
        self.denoiser.to(device)
        return self

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "USDiffusionPipeline":
        """Load a directory written by `save_pretrained`.

        Raises:
            UsdError: something is missing or unreadable; pickled weights are never read.
        """
        root = Path(path)
        if not (root / "adapter").is_dir() or not (root / "control").is_dir():
            raise UsdError(f"{root}: no trained model (adapter/ and control/ are missing); run `dvc repro train`")
        base = load_base(str(root))
        try:
            adapter = InContextAdapter.from_pretrained(root / "adapter", use_safetensors=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsdError(f"{root / 'adapter'}: not readable: {error}") from error
        denoiser = Denoiser(base.unet, load_control(root / "control"), adapter)
        channels_last(denoiser)
        return cls(base, denoiser)

    def save_pretrained(self, path: str | Path) -> None:
        """Write base, control branch and adapter, weights as safetensors."""
        root = Path(path)
        save_base(self.base, root)
        self.denoiser.control.save_pretrained(root / "control")
        self.denoiser.adapter.save_pretrained(root / "adapter")
        index = json.loads((root / "model_index.json").read_text())
        index |= {"_class_name": type(self).__name__, "control": "ControlNetModel", "adapter": "InContextAdapter"}
        (root / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        example_pair: tuple[Tensor, Tensor],
        query: Tensor,
        task: str | None = None,
        num_inference_steps: int = 10,
        timesteps: list[int] | None = None,
        guidance_scale: float = 1.0,
        guidance_interval: tuple[int, int] = (0, 1000),
        generator: torch.Generator | list[torch.Generator] | None = None,
        noise: Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callable[[int, int, Tensor], None] | None = None,
    ) -> USDiffusionOutput:
        """Do to the query what the example pair shows.

        Args:
            prompt: one, or one per query.
            example_pair: source and target, (B, 3, H, W) or (1, 3, H, W) in [0, 1].
            query: (B, 3, H, W) in [0, 1].
            task: its name; None reads it off the pair. Unseen names average the tasks of the same direction.
            num_inference_steps: length of the ESS list, if `timesteps` is None.
            timesteps: any descending list.
            guidance_scale: above 1, each step within the interval runs once more without text and pair.
            guidance_interval: lowest and highest timestep at which guidance acts.
            generator: of the starting noise; a list has one per query, so that results do not depend on batching.
            noise: the starting noise itself, (B, C, h, w).
            output_type: `pil`, `np` or `pt`.
            callback_on_step_end: called with (step number, timestep, latents).
        """
        size = len(query)
        prompts = [prompt] * size if isinstance(prompt, str) else prompt
        if len(prompts) != size:
            raise UsdError(f"prompt: {len(prompts)} prompts for {size} queries; give one, or one per query")
        scale = scale_factor(self.base.vae)
        multiple = scale * 2 ** (len(self.base.unet.config.block_out_channels) - 1)
        if query.shape[-1] % multiple or query.shape[-2] % multiple:
            raise UsdError(f"query: sides {tuple(query.shape[-2:])} must be multiples of {multiple} pixels")
        # 1. what does not depend on the timestep: the adapter and the text, once per image
        pair = torch.cat([part.to(self.device).expand(size, -1, -1, -1) for part in example_pair], dim=1)
        adapter = self.denoiser.adapter
        indicator = adapter.named(task, size) if task else adapter.infer(pair)
        guided = guidance_scale > 1
        features, text = self._conditions(pair, query.to(self.device), indicator, prompts, guided)
        # 2. the timesteps and x_T
        steps = timesteps or sampling_timesteps("ess", num_inference_steps)
        self.scheduler.set_timesteps(timesteps=np.array(steps), device=self.device)
        latents = noise if noise is not None else self._noise(query, generator)
        latents = latents.to(self.device, memory_format=torch.channels_last) * self.scheduler.init_noise_sigma
        # 3. x_t to x_0
        low, high = guidance_interval
        for number, t in enumerate(self.progress_bar(list(self.scheduler.timesteps))):
            x_t = self.scheduler.scale_model_input(latents, t)
            conditional = predict(self.denoiser.unet, self.denoiser.control, x_t, t, text[0], features[0])
            if guided and low <= int(t) <= high:
                free = predict(self.denoiser.unet, self.denoiser.control, x_t, t, text[1], features[1])
                conditional = free + guidance_scale * (conditional - free)
            latents = self.scheduler.step(conditional, t, latents, return_dict=False)[0]
            if callback_on_step_end:
                callback_on_step_end(number, int(t), latents)
        # 4. x_0 to pixels
        images = decode(self.base.vae, latents).clamp(0, 1)
        return USDiffusionOutput(images=_convert(images, output_type), indicator=indicator)

    def _conditions(
        self, pair: Tensor, query: Tensor, indicator: Tensor, prompts: list[str], guided: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Adapter features and text states: with condition, and without text and pair if guided."""
        adapter = self.denoiser.adapter
        features, text = [adapter(pair, query, indicator)], [encode_text(self.base, prompts)]
        if guided:
            nothing = torch.zeros(len(query), dtype=torch.bool, device=self.device)
            features.append(adapter(pair, query, indicator, keep_pair=nothing))
            text.append(encode_text(self.base, [""]).expand(len(query), -1, -1))
        return features, text

    def _noise(self, query: Tensor, generator: torch.Generator | list[torch.Generator] | None) -> Tensor:
        """x_T (B, C, h, w) on the CPU, so that the same seed gives the same noise on any device."""
        scale = scale_factor(self.base.vae)
        one = (self.denoiser.unet.config.in_channels, query.shape[-2] // scale, query.shape[-1] // scale)
        if isinstance(generator, list):
            return torch.stack([torch.randn(one, generator=each) for each in generator])
        return torch.randn((len(query), *one), generator=generator)


def ddim(base: Base) -> DPMSolverMultistepScheduler:
    """Deterministic DDIM over any list of timesteps: the first-order DPM-Solver++ is exactly that."""
    return DPMSolverMultistepScheduler.from_config(
        base.scheduler.config, algorithm_type="dpmsolver++", solver_order=1, final_sigmas_type="zero"
    )


def _convert(images: Tensor, output_type: str) -> Any:
    if output_type == "pt":
        return images.float().cpu()
    arrays = to_array(images)
    return arrays if output_type == "np" else [PIL.Image.fromarray(array) for array in arrays]

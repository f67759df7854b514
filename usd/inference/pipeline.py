"""`USDiffusionPipeline`: show it one example pair, it does the same to your query."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from diffusers import AutoencoderKL
from diffusers.utils import BaseOutput
from torch import Tensor
from tqdm.auto import tqdm

from usd.diffusion.sampling import Denoise, ddim, sample
from usd.diffusion.sampling import guided as guided_by
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.images import to_array
from usd.model.base import Base, PatchCodec, decode, encode_text, scale_factor
from usd.model.control import Denoiser, predict
from usd.model.directory import load_model, save_model

Pair = tuple[Tensor, Tensor]  # source and target, (B, 3, H, W) or (1, 3, H, W) in [0, 1]


@dataclass
class USDiffusionOutput(BaseOutput):
    """What a call returns."""

    images: Any  # list of PIL images, (B, H, W, 3) uint8, or (B, 3, H, W) in [0, 1]
    indicator: Tensor  # (B, N): the task weights the adapter used


class USDiffusionPipeline:
    """In-context image generation, in diffusers' conventions.

    A directory written by `save_pretrained` is complete: it holds the base as well, in diffusers' layout, and beside
    it `control/` and `adapter/`. The scheduler may be any of diffusers' that takes a list of timesteps:

        pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.base.scheduler.config)
    """

    def __init__(self, base: Base, denoiser: Denoiser, scheduler: Any = None) -> None:
        self.base, self.denoiser = base, denoiser.eval()
        self.scheduler = scheduler or ddim(base.scheduler.config)
        self._progress_bar_config: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """Where the modules are."""
        device: torch.device = self.denoiser.unet.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the modules compute in."""
        dtype: torch.dtype = self.denoiser.unet.dtype
        return dtype

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "USDiffusionPipeline":
        """Move all modules to a device, or have them compute in another dtype, or both."""
        for module in (self.base.vae, self.base.unet, self.base.text_encoder, self.denoiser):
            module.to(device, dtype)
        return self

    def progress_bar(self, steps: Iterable[Any]) -> Iterable[Any]:
        """The timesteps of a call, shown as a bar while it runs."""
        bar: Iterable[Any] = tqdm(steps, **self._progress_bar_config)
        return bar

    def set_progress_bar_config(self, **config: Any) -> None:
        """Options of the bar, which are tqdm's: `disable=True` hides it."""
        self._progress_bar_config = config

    def enable_vae_slicing(self) -> None:
        """Decode one image of a batch at a time, which takes less memory."""
        self._autoencoder().enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decode a batch at once."""
        self._autoencoder().disable_slicing()

    def enable_vae_tiling(self) -> None:
        """Decode a large image in overlapping tiles, which takes less memory."""
        self._autoencoder().enable_tiling()

    def disable_vae_tiling(self) -> None:
        """Decode an image at once."""
        self._autoencoder().disable_tiling()

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "USDiffusionPipeline":
        """Load a directory written by `save_pretrained`.

        Raises:
            UsdError: something is missing or unreadable; pickled weights are never read.
        """
        return cls(*load_model(Path(path)))

    def save_pretrained(self, path: str | Path) -> None:
        """Write base, control branch and adapter, weights as safetensors."""
        save_model(Path(path), self.base, self.denoiser)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        example_pair: Pair | list[Pair],
        query: Tensor,
        task: str | list[str | None] | None = None,
        num_inference_steps: int = 10,
        timesteps: list[int] | None = None,
        guidance_scale: float = 1.0,
        guidance_interval: tuple[int, int] = (0, 1000),
        generator: torch.Generator | list[torch.Generator] | None = None,
        noise: Tensor | None = None,
        output_type: str = "pil",
        callback_on_step_end: Callable[..., dict[str, Tensor] | None] | None = None,
    ) -> USDiffusionOutput:
        """Do to the query what the example pair shows.

        Args:
            prompt: one, or one per query.
            example_pair: source and target, (B, 3, H, W) or (1, 3, H, W) in [0, 1]; or a list of pairs that show the
                same. Of several, SGA-E's features are averaged and then added to the query's, and so are the
                indicators read off them.
            query: (B, 3, H, W) in [0, 1].
            task: its name, or one per query; None reads it off the pair. Unseen names average the tasks of the same
                direction.
            num_inference_steps: length of the ESS list, if `timesteps` is None.
            timesteps: any descending list.
            guidance_scale: above 1, each step within the interval runs once more without text and pair.
            guidance_interval: lowest and highest timestep at which guidance acts.
            generator: of the starting noise, and of a scheduler that adds more; a list has one per query, so that
                results do not depend on batching.
            noise: the starting noise itself, (B, C, h, w).
            output_type: `pil`, `np` or `pt`.
            callback_on_step_end: called with (pipeline, step number, timestep, {"latents": …}); `latents` in what it
                returns, if anything, replace those.

        Raises:
            UsdError: an argument does not fit the queries, or the scheduler takes no list of timesteps.
        """
        self._check_size(query)
        prompts, tasks = _per_query("prompt", prompt, query), _per_query("task", task, query)
        shown = example_pair if isinstance(example_pair, list) else [example_pair]
        if not shown:
            raise UsdError("example_pair: the list is empty; give a pair, or several that show the same")
        # 1. what does not depend on the timestep: the adapter and the text, once per image
        pairs = [_joined(pair, query).to(self.device, self.dtype) for pair in shown]
        indicator = self._indicator(pairs, tasks)
        guided = guidance_scale > 1
        features, text = self._conditions(pairs, query.to(self.device, self.dtype), indicator, prompts, guided)
        # 2. the timesteps and x_T
        steps = sampling_timesteps("ess", num_inference_steps) if timesteps is None else timesteps
        latents = noise if noise is not None else self._noise(query, generator)
        latents = latents.to(self.device, self.dtype, memory_format=torch.channels_last)
        # 3. x_t to x_0
        network = partial(predict, self.denoiser.unet, self.denoiser.control)
        denoise: Denoise = partial(network, text=text[0], features=features[0])
        if guided:
            free = partial(network, text=text[1], features=features[1])
            denoise = guided_by(denoise, free, guidance_scale, guidance_interval)

        def on_step(number: int, t: Tensor, latents: Tensor) -> Tensor:
            if not callback_on_step_end:
                return latents
            changed = callback_on_step_end(self, number, int(t), {"latents": latents}) or {}
            return changed.get("latents", latents)

        latents = sample(denoise, latents, self.scheduler, steps, generator, on_step, self.progress_bar)
        # 4. x_0 to pixels
        images = decode(self.base.vae, latents).float().clamp(0, 1)
        return USDiffusionOutput(images=_convert(images, output_type), indicator=indicator.float())

    def _check_size(self, query: Tensor) -> None:
        _require_tensor("query", query)
        if query.ndim != 4 or query.shape[1] != 3:
            raise UsdError(f"query: shape {tuple(query.shape)} must be (B, 3, H, W)")
        multiple = scale_factor(self.base.vae) * 2 ** (len(self.base.unet.config.block_out_channels) - 1)
        if query.shape[-1] % multiple or query.shape[-2] % multiple:
            raise UsdError(f"query: sides {tuple(query.shape[-2:])} must be multiples of {multiple} pixels")

    def _indicator(self, pairs: list[Tensor], tasks: list[str | None]) -> Tensor:
        """(B, N): of the task where one is named, else read off the pairs."""
        adapter = self.denoiser.adapter
        rows = torch.stack([adapter.infer(pair) for pair in pairs]).mean(0)
        for number, name in enumerate(tasks):
            if name is not None:
                if not (name.startswith("image2") or name.endswith("2image")):
                    raise UsdError(f"task: '{name}' is none; it is called image2<map> or <map>2image, as image2depth")
                rows[number] = adapter.named(name, 1)[0]
        return rows

    def _conditions(
        self, pairs: list[Tensor], query: Tensor, indicator: Tensor, prompts: list[str], guided: bool
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Adapter features and text states: with condition, and without text and pair if guided."""
        adapter = self.denoiser.adapter
        example = torch.stack([adapter.read_pair(pair, indicator) for pair in pairs]).mean(0)
        alone = adapter.read_query(query, indicator)
        features, text = [example + alone], [encode_text(self.base, prompts)]
        if guided:
            features.append(alone)
            text.append(encode_text(self.base, [""]).expand(len(query), -1, -1))
        return features, text

    def _noise(self, query: Tensor, generator: torch.Generator | list[torch.Generator] | None) -> Tensor:
        """x_T (B, C, h, w) on the CPU, so that the same seed gives the same noise on any device."""
        scale = scale_factor(self.base.vae)
        one = (self.denoiser.unet.config.in_channels, query.shape[-2] // scale, query.shape[-1] // scale)
        if isinstance(generator, list):
            return torch.stack([torch.randn(one, generator=each) for each in _per_query("generator", generator, query)])
        return torch.randn((len(query), *one), generator=generator)

    def _autoencoder(self) -> AutoencoderKL:
        if isinstance(self.base.vae, PatchCodec):
            raise UsdError("vae: this base has a PatchCodec, which takes no memory that slices or tiles could save")
        return self.base.vae


def _per_query(name: str, value: Any, query: Tensor) -> list[Any]:
    """A list with an entry per query, from one or from such a list."""
    values = value if isinstance(value, list) else [value] * len(query)
    if len(values) != len(query):
        raise UsdError(f"{name}: {len(values)} {name}s for {len(query)} queries; give one, or one per query")
    return values


def _require_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise UsdError(f"{name}: {kind} is no tensor; usd.inference.files.read_picture makes one of a file")


def _joined(pair: Pair, query: Tensor) -> Tensor:
    """Source and target as one, (B, 6, H, W)."""
    for part in pair:
        _require_tensor("example_pair", part)
        if part.shape[1:] != query.shape[1:] or len(part) not in (1, len(query)):
            raise UsdError(f"example_pair: shape {tuple(part.shape)} does not fit queries of {tuple(query.shape)}")
    return torch.cat([part.expand(len(query), -1, -1, -1) for part in pair], dim=1)


def _convert(images: Tensor, output_type: str) -> Any:
    if output_type == "pt":
        return images.cpu()
    arrays = to_array(images)
    return arrays if output_type == "np" else [PIL.Image.fromarray(array) for array in arrays]

"""`USDiffusionPipeline`: show it one example pair, it does the same to your query."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from usd.diffusion.sampling import EVERYWHERE, Denoise, Sampling, ddim, guided, sample
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.inference.images import Images, OutputType, Pair, as_batch, as_output, as_pairs
from usd.model.adapter import InContextAdapter
from usd.model.base import Base, PatchCodec, decode, encode_text, scale_factor
from usd.model.control import ControlBranch, Denoiser, channels_last, predict
from usd.model.directory import model_directory
from usd.model.source import one_line_errors

OnStepEnd = Callable[["USDiffusionPipeline", int, int, dict[str, Tensor]], dict[str, Tensor] | None]
SAMPLING = {  # for a model that says nothing else
    "image2map": Sampling(sampling_timesteps("ess", 1)),
    "map2image": Sampling(sampling_timesteps("ess", 10)),
}


@dataclass
class USDiffusionOutput(BaseOutput):
    """What a call returns."""

    images: Any  # list of PIL pictures; (B, H, W, 3) or (B, 3, H, W) in [0, 1]; or latents (B, C, h, w)
    indicator: Tensor  # (B, N): the task weights that the adapter used


class USDiffusionPipeline(DiffusionPipeline):
    """In-context image generation.

    Args:
        vae, unet, text_encoder, tokenizer: the base.
        scheduler: any of diffusers' that takes a list of timesteps; DDIM's is replaced by its equal that does.
        control: the control branch.
        adapter: SGA, which reads example pair and query.
        sampling: what a call does by default in each direction, as chosen on validation:
            `{"image2map": {"timesteps": [998], "guidance_scale": 1.0}, "map2image": …}`.
    """

    model_cpu_offload_seq = "adapter->text_encoder->unet->vae"  # control takes turns with unet, and stays
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012  # diffusers' name and type

    def __init__(
        self,
        vae: PatchCodec | AutoencoderKL,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        scheduler: Any,
        control: ControlBranch,
        adapter: InContextAdapter,
        sampling: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for module in (vae, unet, text_encoder, control, adapter):
            module.eval()
        channels_last(unet, control, adapter)
        self.register_modules(
            vae=vae,
            unet=unet,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            scheduler=ddim(scheduler.config) if isinstance(scheduler, DDIMScheduler) else scheduler,
            control=control,
            adapter=adapter,
        )
        self.register_to_config(sampling=sampling or {name: asdict(each) for name, each in SAMPLING.items()})
        self._guidance_scale, self._num_timesteps, self._interrupt = 1.0, 0, False

    @classmethod
    def of(cls, base: Base, denoiser: Denoiser) -> "USDiffusionPipeline":
        """The pipeline of a base and what has been trained on it."""
        parts = {name: getattr(base, name) for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
        return cls(**parts, unet=denoiser.unet, control=denoiser.control, adapter=denoiser.adapter)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> "USDiffusionPipeline":
        """Load a model directory, or a repository of the hub; `options` are those of diffusers' `from_pretrained`.

        Raises:
            UsdError: something is missing or unreadable; pickled weights are not loaded.
        """
        root = model_directory(str(path), options.pop("revision", None), options.pop("token", None))
        if not {"torch_dtype", "dtype"} & set(options):
            options["torch_dtype"] = torch.float32  # text encoders would keep the precision that they are stored in
        with one_line_errors(path):
            loaded: USDiffusionPipeline = super().from_pretrained(str(root), **options | {"use_safetensors": True})
        return loaded

    @property
    def guidance_scale(self) -> float:
        """That of the current call, or the last."""
        return self._guidance_scale

    @property
    def num_timesteps(self) -> int:
        """Steps of the current call, or the last."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the current call shall end after this step; a callback sets `_interrupt`."""
        return self._interrupt

    @property
    def picture_size(self) -> int:
        """The side of the squares that the model was trained on, in pixels."""
        return int(self.unet.config.sample_size) * scale_factor(self.vae)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        image_pair: Pair | list[Pair],
        query: Images,
        task: str | list[str | None] | None = None,
        num_inference_steps: int | None = None,
        timesteps: list[int] | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[int, int] = EVERYWHERE,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] | list[str] = ("latents",),
    ) -> USDiffusionOutput:
        """Do to the query what the example pair shows.

        Pictures are PIL's, arrays or tensors, see `usd.inference.images.as_batch`; a list is a batch of B.

        Args:
            prompt: one, or one per query.
            image_pair: source and target; or a list of pairs that show the same, whose features and indicators are
                averaged. Each is one picture for all queries, or one per query.
            query: the pictures to work on.
            task: its name, or one per query; None reads it off the pair. Unseen names average the tasks of the same
                direction.
            num_inference_steps: length of the ESS list, instead of what the model has as default.
            timesteps: any descending list, instead of an ESS list.
            guidance_scale: above 1, each step within the interval runs once more without text and pair. The default
                is the model's.
            guidance_interval: lowest and highest timestep at which guidance acts.
            num_images_per_prompt: results per query, one after the other, each from noise of its own.
            generator: of the starting noise, and of a scheduler that adds more; a list has one per result, so that
                results do not depend on batching.
            latents: the starting noise x_T itself, (B, C, h, w).
            output_type: `pil`, `np` or `pt`, or `latent` for x_0 itself.
            return_dict: False returns a plain tuple.
            callback_on_step_end: called with (pipeline, step number, timestep, {"latents": …}); `latents` in what it
                returns, if anything, replace those.
            callback_on_step_end_tensor_inputs: what the callback sees; there are only `latents`.

        Raises:
            UsdError: an argument does not fit the queries, or the scheduler takes no list of timesteps.
        """
        device, dtype = self._execution_device, self.unet.dtype
        # 1. The query c_q, the pairs (c_s, c_t) that show the task, and what is said of them
        queries = self._queries(query)
        pairs = [self._pair(pair, queries) for pair in as_pairs(image_pair)]  # each (B, 6, H, W)
        prompts, tasks = per_query("prompt", prompt, len(queries)), per_query("task", task, len(queries))
        known_output(output_type, callback_on_step_end_tensor_inputs)

        # 2. The indicator, and SGA-E(pair) + SGA-Q(query): once, since neither depends on t
        queries = queries.to(device, self.adapter.dtype)
        pairs = [pair.to(queries) for pair in pairs]
        indicator = self._indicator(pairs, tasks)  # (B, N)
        alone = self.adapter.read_query(queries, indicator).to(dtype)  # (B, C, h, w)
        shown = torch.stack([self.adapter.read_pair(pair, indicator) for pair in pairs]).mean(0).to(dtype)

        # 3. The timesteps (ESS) and x_T
        sampling = self._sampling(indicator, num_inference_steps, timesteps, guidance_scale)
        self._guidance_scale, self._num_timesteps, self._interrupt = (
            sampling.guidance_scale,
            len(sampling.timesteps),
            False,
        )
        x_T = self._noise(queries, num_images_per_prompt, generator) if latents is None else latents
        x_T = x_T.to(device, dtype, memory_format=torch.channels_last)

        # 4. The text states (B, L, D), and those of no text for guidance
        text = encode_text(self, prompts).to(dtype)
        no_text = (encode_text(self, [""]) if sampling.guidance_scale > 1 else text[:1]).to(dtype).expand_as(text)
        text, no_text, alone, shown, indicator = (
            each.repeat_interleave(num_images_per_prompt, 0) for each in (text, no_text, alone, shown, indicator)
        )

        # 5. x_T to x_0, each step ε̂(x_t, t, text, SGA) with classifier-free guidance
        network = partial(predict, self.unet, self.control)
        conditional: Denoise = partial(network, text=text, features=shown + alone)
        unconditional: Denoise = partial(network, text=no_text, features=alone)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            if self._guidance_scale <= 1:
                return conditional(x_t, t)
            return guided(conditional, unconditional, self._guidance_scale, guidance_interval)(x_t, t)

        def on_step(number: int, t: Tensor, x: Tensor) -> Tensor:
            changed = callback_on_step_end(self, number, int(t), {"latents": x}) if callback_on_step_end else None
            return (changed or {}).get("latents", x)

        x_0 = sample(denoise, x_T, self.scheduler, sampling.timesteps, generator, on_step, self._until_interrupted)

        # 6. x_0 to pixels
        images = x_0 if output_type == "latent" else decode(self.vae, x_0.to(self.vae.dtype)).float().clamp(0, 1)
        images = images if output_type == "latent" else as_output(images, output_type)
        self.maybe_free_model_hooks()
        output = USDiffusionOutput(images=images, indicator=indicator.float())
        return output if return_dict else output.to_tuple()

    def _queries(self, query: Images) -> Tensor:
        queries = as_batch("query", query, self.picture_size)
        multiple = scale_factor(self.vae) * 2 ** (len(self.unet.config.block_out_channels) - 1)
        if queries.shape[-1] % multiple or queries.shape[-2] % multiple:
            raise UsdError(f"query: sides {tuple(queries.shape[-2:])} must be multiples of {multiple} pixels")
        return queries

    def _pair(self, pair: Pair, queries: Tensor) -> Tensor:
        """Source and target as one, (B, 6, H, W)."""
        parts = [as_batch("image_pair", part, self.picture_size) for part in pair]
        for part in parts:
            if part.shape[1:] != queries.shape[1:] or len(part) not in (1, len(queries)):
                raise UsdError(f"image_pair: shape {tuple(part.shape)} does not fit queries of {tuple(queries.shape)}")
        return torch.cat([part.expand(len(queries), -1, -1, -1) for part in parts], dim=1)

    def _indicator(self, pairs: list[Tensor], tasks: list[str | None]) -> Tensor:
        """(B, N): of the task where one is named, else read off the pairs."""
        rows = torch.stack([self.adapter.infer(pair) for pair in pairs]).mean(0)
        for number, name in enumerate(tasks):
            if name is not None:
                if not (name.startswith("image2") or name.endswith("2image")):
                    raise UsdError(f"unknown task '{name}'; expected image2<map> or <map>2image, such as image2depth")
                rows[number] = self.adapter.named(name, 1)[0]
        return rows

    def _sampling(
        self, indicator: Tensor, steps: int | None, timesteps: list[int] | None, guidance_scale: float | None
    ) -> Sampling:
        """What was asked for, else the model's default for the direction: Image2Map if all items lean that way."""
        maps = [number for number, name in enumerate(self.adapter.config.tasks) if name.startswith("image2")]
        direction = "image2map" if bool((indicator[:, maps].sum(1) > 0.5).all()) else "map2image"
        default = self.config.sampling[direction]
        if timesteps is None:
            timesteps = default["timesteps"] if steps is None else sampling_timesteps("ess", steps)
        return Sampling(list(timesteps), default["guidance_scale"] if guidance_scale is None else guidance_scale)

    def _noise(self, queries: Tensor, each: int, generator: torch.Generator | list[torch.Generator] | None) -> Tensor:
        """x_T (B, C, h, w), drawn on the CPU, so that the same seed gives the same noise on any device."""
        count, (height, width), scale = each * len(queries), queries.shape[-2:], scale_factor(self.vae)
        if isinstance(generator, list):
            per_query("generator", generator, count)
        shape = (count, self.unet.config.in_channels, height // scale, width // scale)
        noise: Tensor = randn_tensor(shape, generator)
        return noise

    def _until_interrupted(self, timesteps: list[Tensor]) -> Iterator[Tensor]:
        for t in self.progress_bar(timesteps):
            if self._interrupt:
                return
            yield t


def per_query(name: str, value: Any, count: int) -> list[Any]:
    """A list with an entry per query, from one or from such a list."""
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise UsdError(f"{name}: {len(values)} {name}s for {count} queries; give one, or one per query")
    return values


def known_output(output_type: str, tensors: tuple[str, ...] | list[str]) -> None:
    """Refuse what a call cannot return or show, before it computes anything."""
    if output_type not in ("pil", "np", "pt", "latent"):
        raise UsdError(f"output_type: '{output_type}' is unknown; expected pil, np, pt or latent")
    if unknown := set(tensors) - {"latents"}:
        raise UsdError(f"callback_on_step_end_tensor_inputs: {sorted(unknown)} are unknown; there are only latents")


diffusers.USDiffusionPipeline = USDiffusionPipeline  # where DiffusionPipeline.from_pretrained looks a class up

"""`USDiffusionPipeline`: show it one example pair; it does the same to your query."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from usd.diffusion.sampling import EVERYWHERE, Denoise, Sampling, ddim, sample, usual_samplings
from usd.inference.arguments import (
    Generators,
    changed_latents,
    check_finite,
    check_numbers,
    check_options,
    check_sides,
    joined,
    per_query,
    starting_noise,
)
from usd.inference.defaults import asked_sampling, default_samplings, execution_device
from usd.inference.images import Images, OutputType, Pair, USDiffusionOutput, as_batch, as_output, as_pairs
from usd.inference.loading import to_load
from usd.model.adapter import InContextAdapter
from usd.model.base import PatchCodec, decode, encode_text, scale_factor
from usd.model.control import ControlBranch, channels_last, predict
from usd.model.directory import check_weights
from usd.model.source import one_line_errors

OnStepEnd = Callable[["USDiffusionPipeline", int, int, dict[str, Tensor]], dict[str, Tensor] | None]


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
        self.register_to_config(sampling=sampling or usual_samplings(scheduler.config.get("prediction_type"), 10))
        self._guidance_scale, self._interrupt = 1.0, False

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> "USDiffusionPipeline":
        """Load a model directory, or a repository of the hub; `options` are those of diffusers' `from_pretrained`.

        Raises:
            UsdError: something is missing or unreadable; pickled weights are not loaded.
        """
        root, options = to_load(str(path), options)
        with one_line_errors(path):
            loaded: USDiffusionPipeline = super().from_pretrained(str(root), **options)
        check_weights(root, {name: part for name, part in loaded.components.items() if name not in options})
        return loaded

    @property
    def guidance_scale(self) -> float:
        """That of the current call, or the last."""
        return self._guidance_scale

    @property
    def interrupt(self) -> bool:
        """Whether the current call ends after this step; a callback sets `_interrupt`."""
        return self._interrupt

    @property
    def picture_size(self) -> int:
        """The side of the squares that the model was trained on, in pixels."""
        return int(self.unet.config.sample_size) * scale_factor(self.vae)

    @torch.no_grad()
    def __call__(
        self,
        image_pair: Pair | list[Pair],
        query: Images,
        prompt: str | list[str] = "",
        task: str | list[str | None] | None = None,
        num_inference_steps: int | None = None,
        timesteps: list[int] | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[int, int] = EVERYWHERE,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        latents: Tensor | None = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] | list[str] = ("latents",),
    ) -> USDiffusionOutput:
        """Do to the query what the example pair shows.

        Pictures are PIL's, arrays or tensors, see `usd.inference.images.as_batch`; a list is a batch of B.

        Args:
            image_pair: source and target; or a list of pairs that show the same, whose features and indicators are
                averaged. Each is one picture for all queries, or one per query.
            query: the pictures to work on.
            prompt: a caption of the wanted image, or one per query; empty for a map, because the pair says which.
            task: its name, or one per query; None reads it off the pair. Unseen names average the tasks of the same
                direction.
            num_inference_steps: length of the ESS list, instead of the model's default.
            timesteps: any descending list, instead of an ESS list; of num_inference_steps entries if both are given.
            guidance_scale: above 1, each step within the interval runs once more without text and pair. The default
                is the model's.
            guidance_interval: lowest and highest timestep at which guidance acts.
            num_images_per_prompt: results per query, one after the other, each from noise of its own.
            generator: of the starting noise, and of a scheduler that adds more; a list has one per result, so that
                results do not depend on batching.
            latents: the starting noise x_T itself, (B, C, h, w).
            output_type: `pil`, `np` or `pt`, or `latent` for x_0 itself.
            return_dict: whether to return a `USDiffusionOutput`, and not a plain tuple of its fields.
            callback_on_step_end: called with (pipeline, step number, timestep, {"latents": …}); `latents` in what it
                returns, if anything, replace those.
            callback_on_step_end_tensor_inputs: what the callback sees; there are only `latents`.

        Returns:
            `images`: the results as `output_type` says, those of a query in a row; and `indicator`, (results, N): how
            much each trained task weighs in them.

        Raises:
            UsdError: an argument does not fit the queries, some queries ask for a map and some for an image, the
                scheduler takes no list of timesteps, or a result is not finite.
        """
        check_options(output_type, callback_on_step_end, callback_on_step_end_tensor_inputs)
        check_numbers(num_inference_steps, timesteps, guidance_scale, guidance_interval, num_images_per_prompt)
        # 1. The query, and the pairs that show the task: (B, 3, H, W) and (B, 6, H, W) each
        queries, pairs = self._pictures(query, image_pair)
        prompts, tasks = per_query("prompt", prompt, len(queries)), per_query("task", task, len(queries))
        device, dtype = execution_device(self), self.unet.dtype
        # 2. The indicator (B, N), SGA-Q(query) and SGA-E(pair), (B, C, h, w): once, since they do not depend on t
        indicator, alone, from_pair = self._read(queries.to(device, self.adapter.dtype), pairs, tasks)
        # 3. The timesteps (ESS) and x_T (B, C, h, w)
        sampling = self._sampling(indicator, num_inference_steps, timesteps, guidance_scale)
        x_T = self._start(queries, num_images_per_prompt, generator, latents).to(device, dtype)
        # 4. The text states (B, L, D), and those of no text for guidance
        guides = sampling.guidance_scale > 1 or callback_on_step_end is not None  # which may raise the scale
        text, no_text = self._text(prompts, guides)
        # 5. x_T to x_0 to pixels, each step steered by text, query and pair, and guided away from the query alone
        steering = (part.to(dtype) for part in (text, alone + from_pair, no_text, alone))
        each = (part.repeat_interleave(num_images_per_prompt, 0) for part in steering)
        denoise = self._denoise(guidance_interval, *each)
        on_step = partial(self._on_step, callback_on_step_end)
        x_0 = sample(denoise, x_T, self.scheduler, sampling.timesteps, generator, on_step, self._until_interrupted)
        out = USDiffusionOutput(self._decoded(x_0, output_type), indicator.repeat_interleave(num_images_per_prompt, 0))
        return out if return_dict else out.to_tuple()

    def _pictures(self, query: Images, image_pair: Pair | list[Pair]) -> tuple[Tensor, list[Tensor]]:
        queries = as_batch("query", query, self.picture_size)
        check_sides(queries, scale_factor(self.vae))
        return queries, [joined(pair, queries, self.picture_size) for pair in as_pairs(image_pair)]

    def _read(self, queries: Tensor, pairs: list[Tensor], tasks: list[str | None]) -> tuple[Tensor, Tensor, Tensor]:
        """The indicator (of the task where one is named, else read off the pairs), SGA-Q's and SGA-E's features."""
        pairs = [pair.to(queries) for pair in pairs]
        indicator = torch.stack([self.adapter.infer(pair) for pair in pairs]).mean(0)
        for number, name in enumerate(tasks):
            if name is not None:
                indicator[number] = self.adapter.named(name)
        alone = self.adapter.read_query(queries, indicator)
        from_pair = torch.stack([self.adapter.read_pair(pair, indicator) for pair in pairs]).mean(0)
        return indicator.float(), alone, from_pair

    def _text(self, prompts: list[str], guides: bool) -> tuple[Tensor, Tensor]:
        text = encode_text(self, prompts)
        return text, encode_text(self, [""]).expand_as(text) if guides else text

    def _sampling(self, indicator: Tensor, *asked: Any) -> Sampling:
        defaults = default_samplings(self.config.sampling, self.adapter.config.tasks, indicator)
        sampling = asked_sampling(defaults, *asked)
        self._guidance_scale = sampling.guidance_scale
        return sampling

    def _start(self, queries: Tensor, each: int, generator: Generators, latents: Tensor | None) -> Tensor:
        height, width = (side // scale_factor(self.vae) for side in queries.shape[-2:])
        shape = (each * len(queries), self.unet.config.in_channels, height, width)
        return starting_noise(shape, generator, latents).to(memory_format=torch.channels_last)

    def _denoise(
        self, interval: tuple[int, int], text: Tensor, features: Tensor, no_text: Tensor, alone: Tensor
    ) -> Denoise:
        """The network with text and pair, guided (arXiv 2207.12598) by a scale that callbacks may change."""
        low, high = interval
        conditional = partial(predict, self.unet, self.control, text=text, features=features)
        unconditional = partial(predict, self.unet, self.control, text=no_text, features=alone)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            found = conditional(x_t, t)
            if self._guidance_scale > 1 and low <= int(t) <= high:  # ε̂ = ε∅ + s·(ε_c − ε∅)
                without = unconditional(x_t, t)
                found = without + self._guidance_scale * (found - without)
            return found

        return denoise

    def _on_step(self, callback: OnStepEnd | None, number: int, t: Tensor, x: Tensor) -> Tensor:
        return changed_latents(callback(self, number, int(t), {"latents": x}), x) if callback else x

    def _decoded(self, x_0: Tensor, output_type: OutputType) -> Any:
        decoded = output_type != "latent"
        found = decode(self.vae, x_0.to(self.vae.dtype)).float().clamp(0, 1) if decoded else x_0
        self.maybe_free_model_hooks()
        check_finite(found)
        return as_output(found, output_type) if decoded else found

    def _until_interrupted(self, timesteps: list[Tensor]) -> Iterator[Tensor]:
        self._interrupt = False
        for t in self.progress_bar(timesteps):
            if self._interrupt:
                return
            yield t


diffusers.USDiffusionPipeline = USDiffusionPipeline  # where DiffusionPipeline.from_pretrained looks a class up

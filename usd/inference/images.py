"""What the pipeline takes as images, and what it returns: PIL pictures, arrays and tensors."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from usd.errors import UsdError
from usd.images import few_colours, square, to_array

Picture = PIL.Image.Image | np.ndarray | Tensor
Images = Picture | list[Picture]  # a list is a batch
Pair = tuple[Images, Images]  # source and target
OutputType = Literal["pil", "np", "pt", "latent"]


@dataclass
class USDiffusionOutput(BaseOutput):  # type: ignore[misc]  # diffusers is not typed
    """What a call returns."""

    images: Any  # list of PIL pictures; (B, H, W, 3) or (B, 3, H, W) in [0, 1]; or latents (B, C, h, w)
    indicator: Tensor  # (B, N): the task weights that the adapter used


def as_batch(name: str, images: Images, size: int) -> Tensor:
    """Images as one batch (B, 3, H, W) in [0, 1].

    A tensor is (3, H, W) or (B, 3, H, W), an array (H, W, 3) or (B, H, W, 3), both used at the size that they have,
    with values in [0, 1] or uint8. A PIL picture becomes the central square of `size` pixels a side, upright.

    Raises:
        UsdError: they are of another type, shape or range; the message calls them `name`.
    """
    several = images if isinstance(images, list) else [images]
    parts = [_batch(name, each, size) for each in several]
    if not parts:
        raise UsdError(f"{name}: the list is empty")
    if len({part.shape[1:] for part in parts}) > 1:
        raise UsdError(f"{name}: images of several sizes, {', '.join(str(tuple(part.shape[-2:])) for part in parts)}")
    return torch.cat(parts)


def as_pairs(image_pair: Pair | list[Any]) -> list[Pair]:
    """The pairs of a call: of one pair, a tuple or a list of two images, or of a list of pairs.

    Raises:
        UsdError: a pair has not two parts.
    """
    several = isinstance(image_pair, list) and all(isinstance(each, (tuple, list)) for each in image_pair)
    pairs: list[Any] = list(image_pair) if several else [image_pair]
    if not pairs:
        raise UsdError("image_pair: the list is empty; give a pair, or several that show the same")
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise UsdError("image_pair: not a pair; give (source, target), or a list of such pairs")
    return [(pair[0], pair[1]) for pair in pairs]


def as_output(images: Tensor, output_type: OutputType) -> Any:
    """Images (B, 3, H, W) in [0, 1] as a list of PIL pictures, an array (B, H, W, 3), or the tensor on the CPU."""
    if output_type == "pil":
        return [PIL.Image.fromarray(array) for array in to_array(images)]
    return images.movedim(1, -1).cpu().numpy() if output_type == "np" else images.cpu()


def _batch(name: str, image: Picture, size: int) -> Tensor:
    if isinstance(image, PIL.Image.Image):
        image = _square(name, image, size) if min(image.size) else np.zeros((0, 0, 3), np.uint8)
    if isinstance(image, np.ndarray) and image.dtype.kind not in "uifb":
        raise UsdError(f"{name}: an array of {image.dtype} is not an image; give numbers from 0 to 1, or uint8")
    if isinstance(image, np.ndarray):
        writable = np.require(image, requirements=("C", "W"))  # a PIL picture's memory is not, and PyTorch would warn
        image = torch.from_numpy(writable).movedim(-1, -3) if image.ndim >= 3 else image
    if not isinstance(image, Tensor):
        kind = type(image).__name__
        raise UsdError(f"{name}: {kind} is not an image; give a PIL picture, a tensor or an array with three channels")
    if image.ndim not in (3, 4) or image.shape[-3] != 3:
        raise UsdError(f"{name}: shape {tuple(image.shape)} must be (3, H, W) or (B, 3, H, W); of arrays, (…, H, W, 3)")
    if not image.numel() or image.is_complex():
        raise UsdError(f"{name}: shape {tuple(image.shape)} of {image.dtype} is not an image; it has no pixels to show")
    image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
    low, high = image.aminmax()
    if not (low >= 0 and high <= 1):
        raise UsdError(f"{name}: values within {low:.3g} and {high:.3g} must be within 0 and 1, or uint8")
    return image if image.ndim == 4 else image[None]


def _square(name: str, picture: PIL.Image.Image, size: int) -> np.ndarray:
    """(size, size, 3) uint8: upright, the central square, as `usd generate` decodes a file."""
    upright = PIL.ImageOps.exif_transpose(picture)
    try:
        return square(upright, size, few_colours(upright), [])
    except UsdError as error:
        raise UsdError(f"{name}: {error}") from error

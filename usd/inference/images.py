"""What the pipeline takes as images, and what it returns: PIL pictures, arrays and tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from usd.errors import UsdError
from usd.images import few_colours, orientation_of, same_shape, square, to_array, turn_with

ImageLike = PIL.Image.Image | np.ndarray | Tensor
Images = ImageLike | list[ImageLike]  # a list is a batch
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
    return [_upright(pair[0], pair[1]) for pair in pairs]


@dataclass(frozen=True)
class PairPart:
    """One part of an example pair, before it is decoded."""

    name: str  # in messages
    shape: float  # width / height, upright
    orientation: int  # of its EXIF, 1 if it has none


def turns_of(first: PairPart, second: PairPart) -> tuple[int, int]:
    """The orientations by which the parts are to be turned beside their own; 1 leaves one as it is.

    Where one has an EXIF orientation and the other was made from its stored pixels, both are turned, as in ingestion.

    Raises:
        UsdError: they are not of one shape, or it cannot be known whether the one is turned.
    """
    if first.orientation > 1 and second.orientation == 1:
        turns = (1, _turn(second, first))
    elif second.orientation > 1 and first.orientation == 1:
        turns = (_turn(first, second), 1)
    else:
        turns = (1, 1)
    one, other = (
        1 / part.shape if turn >= 5 else part.shape for part, turn in zip((first, second), turns, strict=True)
    )
    if not same_shape(one, other):
        shapes = f"{one:.2f} and {other:.2f} wide for a height of 1"
        raise UsdError(f"{first.name} and {second.name}: not of one shape, {shapes}; a pair shows the same view twice")
    return turns


def _turn(part: PairPart, photo: PairPart) -> int:
    """The orientation by which `part`, which has none, is turned with `photo`."""
    turn = turn_with(part.shape, photo.shape, photo.orientation)
    if turn is None:
        raise UsdError(
            f"{photo.name}: has an EXIF orientation, {part.name} has none and fits turned or not; save both upright"
        )
    return turn


def _upright(source: Any, target: Any) -> tuple[Any, Any]:
    """A pair as it is given; of two PIL pictures, the one without an EXIF orientation turned with the other."""
    if isinstance(source, list) and isinstance(target, list) and len(source) == len(target):
        pairs = [_upright(*pair) for pair in zip(source, target, strict=True)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if not all(isinstance(each, PIL.Image.Image) and min(each.size) for each in (source, target)):
        return source, target
    turns = turns_of(_part("source", source), _part("target", target))
    return _with_orientation(source, turns[0]), _with_orientation(target, turns[1])


def _part(name: str, picture: PIL.Image.Image) -> PairPart:
    with _named("image_pair"):
        orientation = orientation_of(picture)
    shape = picture.width / picture.height
    return PairPart(f"image_pair ({name})", 1 / shape if orientation >= 5 else shape, orientation)


def _with_orientation(picture: PIL.Image.Image, orientation: int) -> PIL.Image.Image:
    """A picture that says how it is turned upright."""
    if orientation == 1:
        return picture
    with _named("image_pair"):
        copy = picture.copy()
        copy.getexif()[PIL.ExifTags.Base.Orientation] = orientation
    return copy


@contextmanager
def _named(name: str) -> Iterator[None]:
    """What cannot be decoded, as an error that names the argument."""
    try:
        yield
    except UsdError as error:
        raise UsdError(f"{name}: {error}") from error
    except (OSError, ValueError, SyntaxError) as error:  # of Pillow's decoders
        raise UsdError(f"{name}: damaged: {error}") from error


def as_output(images: Tensor, output_type: OutputType) -> Any:
    """Images (B, 3, H, W) in [0, 1] as a list of PIL pictures, an array (B, H, W, 3), or the tensor on the CPU."""
    if output_type == "pil":
        return [PIL.Image.fromarray(array) for array in to_array(images)]
    return images.movedim(1, -1).cpu().numpy() if output_type == "np" else images.cpu()


def _batch(name: str, image: ImageLike, size: int) -> Tensor:
    if isinstance(image, PIL.Image.Image):
        image = _square(name, image, size) if min(image.size) else np.zeros((0, 0, 3), np.uint8)
    if isinstance(image, np.ndarray) and image.dtype.kind not in "uifb":
        raise UsdError(f"{name}: an array of {image.dtype} is not an image; give numbers from 0 to 1, or uint8")
    if isinstance(image, np.ndarray):
        image = image.astype(image.dtype.newbyteorder("="), copy=False)  # PyTorch reads this machine's order alone
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
    with _named(name):
        upright = PIL.ImageOps.exif_transpose(picture.convert("LA") if picture.mode == "La" else picture)
        return square(upright, size, few_colours(upright), [])

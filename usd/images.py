"""Pictures as PNG bytes, arrays, tensors and grids of labelled tiles."""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageCms
import PIL.ImageDraw
import PIL.ImageOps

from usd.errors import UsdError
from usd.files import read_file

if TYPE_CHECKING:
    from torch import Tensor

FEW_COLOURS = 64
SHAPE_TOLERANCE = 0.02  # of width / height: networks round the sides of their maps
DARKEST_16_BIT = 2**14  # the brightest pixel of a 16-bit photograph is brighter
MODES = {"1": "grey", "L": "grey", "LA": "grey", "I": "grey", "P": "palette", "PA": "palette", "CMYK": "CMYK"}

ZOOM, HEADER = 2, 16  # of a grid: its enlargement, and the height of its titles in pixels


def encode_png(array: np.ndarray) -> bytes:
    """PNG bytes of (H, W) uint8/uint16 or (H, W, 3) uint8 RGB; the same array gives the same bytes."""
    picture = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()


def decode_png(data: bytes, name: str, out: np.ndarray | None = None) -> np.ndarray:
    """The array of PNG bytes: (H, W) or (H, W, 3) RGB, uint8 or uint16; it is `out` if that fits an RGB picture.

    Raises:
        UsdError: the bytes are not a complete picture; `name` is in the message.
    """
    complete = data.rstrip(b"\0").endswith(b"IEND\xaeB`\x82")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if complete else None
    if picture is None:
        raise UsdError(f"{name}: not a complete PNG; render or ingest this sample again")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, out) if picture.ndim == 3 else picture


def read_png(path: Path) -> np.ndarray:
    """Read one field of a folder dataset."""
    return decode_png(read_file(path), str(path))


def to_tensor(array: np.ndarray) -> "Tensor":
    """(…, H, W, 3) uint8 → (…, 3, H, W) float in [0, 1]."""
    import torch  # here, since stages without networks do not need it

    return torch.tensor(np.ascontiguousarray(array)).movedim(-1, -3).float() / 255


def to_array(tensor: "Tensor") -> np.ndarray:
    """(…, 3, H, W) in [0, 1] → (…, H, W, 3) uint8."""
    import torch

    return (tensor.detach().clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def write_grid(rows: list[list[np.ndarray]], columns: list[str], path: Path) -> None:
    """Write rows of (H, W, 3) uint8 tiles under column titles as a PNG, twice enlarged."""
    width = rows[0][0].shape[1]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    picture = PIL.Image.fromarray(sheet).resize(
        (sheet.shape[1] * ZOOM, sheet.shape[0] * ZOOM), PIL.Image.Resampling.NEAREST
    )
    page = PIL.Image.new("RGB", (picture.width, picture.height + HEADER), "white")
    page.paste(picture, (0, HEADER))
    draw = PIL.ImageDraw.Draw(page)
    for number, title in enumerate(columns):
        draw.text((number * width * ZOOM + 3, 2), title, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, optimize=True)


def orientation_of(file: PIL.Image.Image) -> int:
    """The orientation by its EXIF, 1 to 8; 1 if that is none of these, such as text."""
    found = file.getexif().get(PIL.ExifTags.Base.Orientation)
    return next((number for number in range(1, 9) if number == found), 1)


def same_shape(one: float, other: float) -> bool:
    """Whether width / height is the same, whatever the sizes."""
    return abs(one / other - 1) <= SHAPE_TOLERANCE


def turn_with(shape: float, upright: float, orientation: int) -> int | None:
    """The orientation by which a map without one is turned: its image's, if it was made from the stored pixels.

    None if that cannot be known, as width / height, `shape`, fits both ways. 1 leaves the map as it is.

    Args:
        shape: of the map.
        upright: shape of its image, upright.
        orientation: of its image.
    """
    if orientation == 1:
        return 1
    fits = same_shape(shape, upright)
    stored = same_shape(1 / shape if orientation >= 5 else shape, upright)
    if fits and stored:
        return None
    return orientation if stored else 1


def few_colours(picture: PIL.Image.Image) -> bool:
    """Whether it is taken for a map of classes or lines, whose pixels are picked when it is scaled, not mixed.

    Raises:
        UsdError: it has more than 8 bits a channel, and its values are not those of a picture to look at.
    """
    return not picture.has_transparency_data and bool(_eight_bit(picture).convert("RGB").getcolors(FEW_COLOURS))


def square(picture: PIL.Image.Image, size: int, pick: bool, repairs: list[str]) -> np.ndarray:
    """The central square of an upright picture as one sees it: sRGB, transparency on white. (size, size, 3) uint8.

    Args:
        picture: Of any mode.
        size: Pixels a side.
        pick: Whether pixels are picked as they are stored, as of a map, not mixed.
        repairs: What had to be converted is appended to it.

    Raises:
        UsdError: it has more than 8 bits a channel, and its values are not those of a picture to look at.
    """
    seen = _eight_bit(picture).convert("RGB") if pick else _seen(picture, repairs)
    method = PIL.Image.Resampling.NEAREST if pick else PIL.Image.Resampling.LANCZOS
    return np.asarray(PIL.ImageOps.fit(seen, (size, size), method))


def _seen(picture: PIL.Image.Image, repairs: list[str]) -> PIL.Image.Image:
    """A picture of any mode as one sees it: sRGB, transparency on white; appends to `repairs`."""
    profile = picture.info.get("icc_profile")
    if repair := MODES.get(picture.mode.split(";")[0]):
        repairs.append(repair)
    picture = _eight_bit(picture)
    if picture.has_transparency_data:
        repairs.append("alpha")
        layer = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", layer.size, "white"), layer)
    if picture.mode not in ("L", "CMYK"):
        picture = picture.convert("RGB")
    return (_srgb(picture, profile, repairs) if profile else picture).convert("RGB")


def _eight_bit(picture: PIL.Image.Image) -> PIL.Image.Image:
    """16-bit grey as 8-bit grey, which Pillow itself would clip at 255; other modes as they are.

    Raises:
        UsdError: its values are not brightness in 16 bits.
    """
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise UsdError("neither 8 nor 16 bits per channel; save it with 8 bits, as it looks")
    if 0 < values.max() < DARKEST_16_BIT:
        measured = f"16-bit values of up to {values.max()}, as of depth in millimetres or class ids"
        raise UsdError(f"{measured}: a map, not a picture to look at; save it with 8 bits, as it looks")
    return PIL.Image.fromarray((values // 257).astype(np.uint8))


def _srgb(picture: PIL.Image.Image, profile: bytes, repairs: list[str]) -> PIL.Image.Image:
    """The colours that the ICC profile means; a profile that does not fit is dropped. Appends to `repairs`."""
    try:
        source = PIL.ImageCms.ImageCmsProfile(BytesIO(profile))
        if "sRGB" in PIL.ImageCms.getProfileDescription(source):
            return picture
        converted = PIL.ImageCms.ImageCmsTransform(source, _target(), picture.mode, "RGB").apply(picture)
    except (PIL.ImageCms.PyCMSError, OSError, ValueError):
        repairs.append("ICC profile dropped")
        return picture
    repairs.append("ICC profile")
    return converted


@cache
def _target() -> PIL.ImageCms.ImageCmsProfile:
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB"))

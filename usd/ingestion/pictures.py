"""Picture files as people have them: checked, repaired where that is safe, and brought to the form of the record.

`usd.ingestion.ingest` lists what is refused and what is repaired.
"""

import stat
import warnings
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageCms
import PIL.ImageFile
import PIL.ImageOps

from usd.files import sha256
from usd.images import few_colours

SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
LEAST_SIDE = 16  # pixels
MOST_PIXELS = 100_000_000
MOST_BYTES = 2**28
DARKEST_16_BIT = 2**14  # the brightest pixel of a 16-bit photograph is brighter
SHAPE_TOLERANCE = 0.02  # of width / height: networks round the sides of their maps
JPEG, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PADDING = 64  # zeros at the end of a JPEG that is whole may be fewer
MODES = {"1": "grey", "L": "grey", "LA": "grey", "I": "grey", "P": "palette", "PA": "palette", "CMYK": "CMYK"}


class Refused(Exception):
    """A file cannot be used; the message says why."""


@dataclass(frozen=True)
class Picture:
    """A picture file in the form of the record."""

    pixels: np.ndarray  # (size, size, 3) uint8 RGB, the central square
    shape: float  # width / height of the whole picture, upright
    repairs: tuple[str, ...]
    sha256: str  # of the file
    orientation: int = 1  # of its EXIF, before it was turned upright
    missing: float = 0.0  # share of a map without a value, since filled
    few: bool = False  # whether the file has few colours, as class maps do

    @property
    def blank(self) -> bool:
        """Whether it has a single colour."""
        return bool((self.pixels == self.pixels[0, 0]).all())


def same_shape(one: float, other: float) -> bool:
    """Whether width / height is the same, whatever the sizes."""
    return abs(one / other - 1) <= SHAPE_TOLERANCE


def read_file(path: Path) -> bytes:
    """All bytes of a regular file.

    Raises:
        Refused: it is empty, very large, not readable, or a link to nowhere; or a JPEG of which the end was never
            written, as after a broken download: decoders take it for grey.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Refused("not a regular file")
        if found.st_size > MOST_BYTES:
            raise Refused(f"larger than {MOST_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"not readable: {error.strerror}") from error
    if not data:
        raise Refused("empty: 0 bytes")
    if data.startswith(JPEG) and data.endswith(bytes(PADDING)) and not data.rstrip(b"\0").endswith(JPEG_END):
        raise Refused("damaged: zeros in the place of its end")
    return data


def read_picture(path: Path, size: int, pick: bool = False) -> Picture:
    """A picture file as one sees it: upright, 8-bit RGB, its central square, `size` pixels a side.

    Args:
        path: The file.
        size: Pixels a side.
        pick: Whether one of few colours is taken for a map, whose pixels are picked when it is scaled, not mixed.

    Raises:
        Refused: the file is not a usable picture.
    """
    data = read_file(path)
    try:
        with warnings.catch_warnings(action="ignore"), PIL.Image.open(BytesIO(data), formats=FORMATS) as file:
            check_header(file)
            repairs = [] if file.format in (SUFFIXES.get(path.suffix.lower()), "MPO") else ["wrong extension"]
            if narrowed(file):
                repairs.append("16-bit")
            orientation = orientation_of(file)  # gone from a TIFF once decoded
            pixels, shape, few = _decode(file, size, pick, repairs)
    except Refused:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise Refused(f"more than {MOST_PIXELS // 10**6} megapixels") from error
    except PIL.UnidentifiedImageError as error:
        raise Refused("not a picture, or its header is damaged") from error
    except Exception as error:  # a decoder may raise anything on a damaged file, which must not end the other files
        raise Refused(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error
    return Picture(pixels, shape, tuple(repairs), sha256(data), orientation, few=few)


def check_header(file: PIL.ImageFile.ImageFile) -> None:
    """Refuse what the header gives away, before anything is decoded."""
    width, height = file.size
    if min(width, height) < LEAST_SIDE:
        raise Refused(f"{width}x{height} pixels: a side of less than {LEAST_SIDE}")
    if width * height > MOST_PIXELS:
        raise Refused(f"more than {MOST_PIXELS // 10**6} megapixels")
    frames = getattr(file, "n_frames", 1)
    if frames > 1 and file.format != "MPO":  # a camera's JPEG with a preview after it
        raise Refused(f"animated, or of several pages: {frames} frames")


def orientation_of(file: PIL.Image.Image) -> int:
    """The orientation by its EXIF, 1 to 8; 1 if that is none of these, such as text."""
    found = file.getexif().get(PIL.ExifTags.Base.Orientation)
    return next((number for number in range(1, 9) if number == found), 1)


def narrowed(file: PIL.ImageFile.ImageFile) -> bool:
    """Whether it has 16 bits a channel, of which Pillow reads 8 if it is in colour; to be asked first of all."""
    return ";16" in str(file.tile)  # it says so only here, until anything is decoded


def _decode(file: PIL.ImageFile.ImageFile, size: int, pick: bool, repairs: list[str]) -> tuple[np.ndarray, float, bool]:
    """Pixels (size, size, 3) uint8, the shape of the whole, and whether it has few colours; appends to `repairs`."""
    file.draft(None, (2 * size, 2 * size))  # JPEG: decodes fewer pixels, which saves time
    if orientation_of(file) != 1:
        repairs.append("EXIF rotation")
    upright = PIL.ImageOps.exif_transpose(file)
    few = few_colours(upright)
    picked = pick and few
    picture = _eight_bit(upright).convert("RGB") if picked else _sight(upright, repairs)
    method = PIL.Image.Resampling.NEAREST if picked else PIL.Image.Resampling.LANCZOS
    pixels = np.asarray(PIL.ImageOps.fit(picture, (size, size), method))
    return pixels, upright.width / upright.height, few or upright.mode in ("P", "PA")


def _sight(picture: PIL.Image.Image, repairs: list[str]) -> PIL.Image.Image:
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
    """16-bit grey as 8-bit grey, which Pillow itself would clip at 255; other modes as they are."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise Refused("neither 8 nor 16 bits per channel")
    if 255 < values.max() < DARKEST_16_BIT:
        raise Refused("16-bit values that are measured, such as depth in millimetres: a map, not a picture to look at")
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

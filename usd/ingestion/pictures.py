"""Picture files as people have them: checked, repaired where that is safe, and brought to the form of the record.

`usd.ingestion.ingest` lists what is refused and what is repaired.
"""

import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageFile
import PIL.ImageOps

from usd.errors import UsdError
from usd.files import sha256
from usd.images import DARKEST_16_BIT, few_colours, orientation_of, square

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
COLOURS = ("RGB", "RGBA", "RGBX")  # modes
JPEG, JPEG_END = b"\xff\xd8", b"\xff\xd9"
READ_AHEAD = 8  # bytes
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
PADDING = 64  # zeros at the end of a JPEG that is whole may be fewer

TURNS = {  # EXIF orientation → the stored array turned upright
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


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


def turned(values: np.ndarray, turn: int) -> np.ndarray:
    """A stored array (H, W, …) made upright by its EXIF orientation."""
    return np.ascontiguousarray(TURNS[turn](values) if turn in TURNS else values)


def read_source(path: Path) -> bytes:
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
        raise Refused("damaged: zeros where its end should be")
    return data


def read_picture(path: Path, size: int, pick: bool = False, turn: int = 1) -> Picture:
    """A picture file as one sees it: upright, 8-bit RGB, its central square, `size` pixels a side.

    Args:
        path: The file.
        size: Pixels a side.
        pick: Whether one of few colours is taken for a map, whose pixels are picked when it is scaled, not mixed.
            Then all pixels of a JPEG are decoded, as the pipeline's API does.
        turn: The orientation to take it by, if it has none.

    Raises:
        Refused: the file is not a usable picture.
    """
    data = read_source(path)
    with decoding(data), PIL.Image.open(BytesIO(data), formats=FORMATS) as file:
        check_header(file)
        repairs = [] if file.format in (SUFFIXES.get(path.suffix.lower()), "MPO") else ["wrong extension"]
        if narrow := narrowed(file):
            repairs.append("16-bit")
        if turn != 1:
            file.getexif()[PIL.ExifTags.Base.Orientation] = turn
        orientation = orientation_of(file)  # gone from a TIFF once decoded
        pixels, shape, few = _decode(file, size, pick, repairs)
        check_end(file, data)
        if narrow and file.mode in COLOURS and 0 < (most := _brightest(file)) < DARKEST_16_BIT >> 8:
            raise Refused(
                f"colours of 16 bits of up to {most} of 255: too dark to see; save it with 8 bits, as it looks"
            )
    return Picture(pixels, shape, tuple(repairs), sha256(data), orientation, few=few)


@contextmanager
def decoding(data: bytes) -> Iterator[None]:
    """Without warnings, and with what a decoder of a file's bytes raises as `Refused`."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except Refused:
        raise
    except UsdError as error:
        raise Refused(str(error)) from error
    except PIL.Image.DecompressionBombError as error:
        raise Refused(f"more than {MOST_PIXELS // 10**6} megapixels") from error
    except PIL.UnidentifiedImageError as error:
        raise Refused(_not_a_picture(data)) from error
    except Exception as error:  # a decoder may raise anything on a damaged file, which must not end the other files
        raise Refused(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def _not_a_picture(data: bytes) -> str:
    """What a file is that no decoder takes, whatever it is called."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return "not a picture that is read, but HEIC or AVIF whatever its name; convert it to JPEG or PNG"
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        return "not a picture, but a web page, SVG or other XML whatever its name; download or export it as JPEG or PNG"
    return "not a picture, or its header is damaged"


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


def narrowed(file: PIL.ImageFile.ImageFile) -> bool:
    """Whether it has 16 bits a channel, of which Pillow reads 8 if it is in colour; to be asked first of all."""
    return ";16" in str(file.tile)  # it says so only here, until anything is decoded


def check_end(file: PIL.Image.Image, data: bytes) -> None:
    """Refuse a decoded JPEG that has its end, but lacks data before it: the rest of its rows is of one colour.

    Without that end, a decoder that needs more than the few bytes that it reads ahead says so. A progressive one is
    never told from a whole one.
    """
    data = data.rstrip(b"\0")
    if file.format not in ("JPEG", "MPO") or file.info.get("progressive") or not data.endswith(JPEG_END):
        return
    last = np.asarray(file.crop((file.width - 2, file.height - 1, file.width, file.height)))
    if (last != last[:, :1]).any():
        return
    with PIL.Image.open(BytesIO(data.removesuffix(JPEG_END) + bytes(READ_AHEAD)), formats=("JPEG",)) as again:
        try:
            again.load()
        except OSError as error:
            raise Refused("damaged: data are missing before its end, and its lower part is of one colour") from error


def _brightest(file: PIL.Image.Image) -> int:
    """The largest value of its colours, of 8 bits, without alpha."""
    return int(np.asarray(file.convert("RGB")).max())


def _decode(file: PIL.ImageFile.ImageFile, size: int, pick: bool, repairs: list[str]) -> tuple[np.ndarray, float, bool]:
    """Pixels (size, size, 3) uint8, the shape of the whole, and whether it has few colours; appends to `repairs`."""
    rounded = 1.0  # by how much it alters the shape that fewer pixels have whole sides
    if not pick:
        whole = file.width / file.height
        file.draft(None, (2 * size, 2 * size))  # JPEG: decodes fewer pixels, which saves time
        rounded = whole / (file.width / file.height)
    if (orientation := orientation_of(file)) != 1:
        repairs.append("EXIF rotation")
    upright = PIL.ImageOps.exif_transpose(file)
    few = few_colours(upright)
    pixels = square(upright, size, pick and few, repairs)
    shape = upright.width / upright.height * (1 / rounded if orientation >= 5 else rounded)
    return pixels, shape, few

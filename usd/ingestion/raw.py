"""Map files as they are stored: every bit of their values, with the palette, the transparency and the orientation."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image

from usd.files import sha256
from usd.images import orientation_of
from usd.ingestion.pictures import (
    FORMATS,
    LEAST_SIDE,
    SUFFIXES,
    Refused,
    check_end,
    check_header,
    decoding,
    narrowed,
    read_source,
)

ARRAY = ".npy"
UNREAD = (".exr", ".pfm", ".npz", ".mat", ".hdr", ".h5", ".hdf5", ".pgm", ".ppm", ".dpt", ".raw", ".tfrecord")
LOSSY = ("JPEG", "MPO")
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")  # how a TIFF may be compressed; its WebP does not say whether it is lossless
BITS, BITS_TAG = 24, 258  # the byte of a PNG's header, and the tag of a TIFF, that say how many bits a channel has
SCALES = {1: 255, 2: 85, 4: 17}  # by the bits of a grey value: Pillow brings it to 8 bits, but not the clear one


@dataclass(frozen=True)
class Raw:
    """A map file, decoded."""

    values: np.ndarray  # (H, W) of any number type, or (H, W, 3) uint8
    full: float  # the largest value of its type, 1 for floating point
    opaque: np.ndarray | None  # (H, W) bool, None where it has no alpha
    palette: np.ndarray | None  # (256, 3) uint8 if the values are indices
    lossy: bool
    narrowed: bool  # it has colours of 16 bits, of which these are the upper 8
    orientation: int  # of its EXIF, 1 if it has none
    repairs: tuple[str, ...]
    sha256: str  # of the file
    scale: int = 1  # of grey values: how many times what is stored they are, as fewer bits are brought to 8

    @property
    def shape(self) -> float:
        """Width / height as stored."""
        return float(self.values.shape[1] / self.values.shape[0])


def read_raw(path: Path) -> Raw:
    """A map file's values.

    Raises:
        Refused: the file is not a usable map.
    """
    if path.suffix.lower() in UNREAD:
        raise Refused(f"{path.suffix.lower()} files are not read; save the values as .npy or 16-bit PNG")
    data = read_source(path)
    with decoding(data):
        return _read(path, data)


def _read(path: Path, data: bytes) -> Raw:
    if path.suffix.lower() == ARRAY:
        return _array(np.load(BytesIO(data), allow_pickle=False), sha256(data))
    with PIL.Image.open(BytesIO(data), formats=FORMATS) as file:
        check_header(file)
        repairs = () if file.format in (SUFFIXES.get(path.suffix.lower()), "MPO") else ("wrong extension",)
        narrow = narrowed(file) and not file.mode.startswith("I")
        scale = SCALES.get(_bits(file, data), 1) if file.mode in ("1", "L") else 1
        # taken out, since Pillow turns TIFF files by it when it decodes them
        orientation = orientation_of(file)
        file.getexif().pop(PIL.ExifTags.Base.Orientation, None)
        lossy = _lossy(file, data)
        if file.mode == "L" and scale > 1 and "transparency" in file.info:
            file.info["transparency"] *= scale
        values, full, palette = _decode(file)
        check_end(file, data)
        return Raw(values, full, _opaque(file), palette, lossy, narrow, orientation, repairs, sha256(data), scale)


def _bits(file: PIL.Image.Image, data: bytes) -> int:
    """How many bits a grey value has in the file."""
    if file.mode == "1":
        return 1
    return data[BITS] if file.format == "PNG" else int(getattr(file, "tag_v2", {}).get(BITS_TAG, (8,))[0])


def _lossy(file: PIL.Image.Image, data: bytes) -> bool:
    """Whether the file is compressed in a way that alters its values."""
    if file.format == "WEBP":
        return b"VP8L" not in _chunks(data)
    return file.format in LOSSY or (file.format == "TIFF" and file.info.get("compression") in LOSSY_TIFF)


def _chunks(data: bytes) -> list[bytes]:
    """The names of a WebP's chunks: VP8L holds pixels without loss, "VP8 " with it."""
    found, place = [], 12  # after RIFF, the size of the file and WEBP
    while place + 8 <= len(data):
        found.append(data[place : place + 4])
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return found


def _decode(file: PIL.Image.Image) -> tuple[np.ndarray, float, np.ndarray | None]:
    """Values, the largest of their type, and the palette of indices."""
    mode = file.mode
    if mode in ("P", "PA"):
        indices = np.asarray(file.convert("P") if mode == "PA" else file)
        colours = np.zeros((256, 3), np.uint8)
        given = np.array(file.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours[: len(given)] = given
        return indices, 255, colours
    if mode == "1":
        return np.asarray(file.convert("L")), 255, None
    if mode.startswith("F"):
        return np.asarray(file, np.float64), 1, None
    if mode.startswith("I"):
        return np.asarray(file).astype(np.int64), 65535, None
    if mode in ("LA", "La"):
        return np.asarray(file.convert("LA"))[..., 0], 255, None
    if mode in ("RGBA", "RGBa"):
        return np.asarray(file.convert("RGBA"))[..., :3], 255, None
    return np.asarray(file if mode in ("L", "RGB") else file.convert("RGB")), 255, None


def _opaque(file: PIL.Image.Image) -> np.ndarray | None:
    """Where it is opaque (H, W) bool, by its alpha or the value that its header calls transparent; None: all over."""
    if not file.has_transparency_data:
        return None
    bands = file.getbands()
    if bands[-1] in ("A", "a"):
        opaque = np.asarray(file.getchannel(len(bands) - 1)) >= 128
    elif file.mode.startswith("I"):
        opaque = np.asarray(file) != file.info["transparency"]
    else:
        opaque = np.asarray(file.convert("RGBA").getchannel("A")) >= 128
    return None if opaque.all() else opaque


def _array(values: np.ndarray, digest: str) -> Raw:
    """A NumPy array: (H, W), (1, H, W) or (H, W, 1) of numbers or of true and false, or (H, W, 3) uint8."""
    if values.dtype == bool:
        values = values * np.uint8(255)
    values = values.squeeze() if values.ndim == 3 and 1 in values.shape else values
    coloured = values.ndim == 3 and values.shape[-1] == 3 and values.dtype == np.uint8
    if (values.ndim != 2 and not coloured) or values.dtype.kind not in "uif":
        normals = values.ndim == 3 and values.shape[-1] == 3 and values.dtype.kind == "f"
        remedy = "; save normals n as PNG of 8 bits, (n + 1) / 2 * 255, or move them out" if normals else ""
        raise Refused(f"an array {values.shape} of {values.dtype}; a map is (H, W) numbers{remedy}")
    if min(values.shape[:2]) < LEAST_SIDE:
        raise Refused(f"{values.shape[1]}x{values.shape[0]} pixels: a side of less than {LEAST_SIDE}")
    full = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    return Raw(values, full, None, None, False, False, 1, (), digest)

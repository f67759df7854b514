"""Pictures as PNG bytes, arrays, tensors and grids of labelled tiles."""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw

from usd.errors import UsdError

if TYPE_CHECKING:
    from torch import Tensor

FEW_COLOURS = 64

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
    try:
        return decode_png(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise UsdError(f"{path}: not found; run the stage that makes it") from None


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
    _height, width = rows[0][0].shape[:2]
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


def few_colours(picture: PIL.Image.Image) -> bool:
    """Whether it is taken for a map of classes or lines, whose pixels are picked when it is scaled, not mixed."""
    return not picture.has_transparency_data and bool(picture.convert("RGB").getcolors(FEW_COLOURS))

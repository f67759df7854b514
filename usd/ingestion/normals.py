"""Normal maps: vectors (n + 1) / 2 with x to the right, y up and z towards the viewer, in red, green and blue.

What a picture shows faces the viewer. So z is large in most maps, and red is as often below 0 as above it; where red is
never below 0 and blue is about 0 on average, red may hold z, as OpenCV writes it, or the picture shows a wall on the
left. Measured on 1534 of the project's maps: the means of blue are 0.43 to 0.74 and those of red -0.15 to 0.12; with
red and blue exchanged, all but 0.4 % are `in_bgr`.
"""

from pathlib import Path

import numpy as np

from usd.errors import UsdError
from usd.ingestion.meanings import Normals
from usd.ingestion.pictures import Refused

MOST_OFF_NORMAL = 0.2  # share of the pixels whose vector is far from length 1
# A wall that fills so much of a picture has a z of 0.3 and more, unless the picture is taken from very far.
SIDEWAYS, FLAT = 0.75, 0.15  # least mean of red or green, and most of |blue|, where z is not in blue
FEWEST, LEAST_BGR = 8, 0.9  # maps of a source whose channels are compared, and the share that is then `in_bgr`
ORDER_REMEDY = "if they were saved in BGR order, as OpenCV does, save them as RGB, with z towards the viewer in blue"


def to_normals(small: np.ndarray, meaning: Normals) -> np.ndarray:
    """Vectors of length 1 again; towards the viewer where there is none.

    Raises:
        Refused: they are not camera-space normals, or z is not in blue.
    """
    normal = small / 127.5 - 1
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    if float((np.abs(length - 1) > 0.3).mean()) > MOST_OFF_NORMAL or float((normal[..., 2] < 0).mean()) > 0.5:
        raise Refused("not camera-space normals, (n + 1) / 2 with z towards the viewer")
    red, green = float(normal[..., 0].mean()), abs(float(normal[..., 1].mean()))
    if max(red, green) > SIDEWAYS and float(np.abs(normal[..., 2]).mean()) < FLAT:
        raise Refused(f"normals whose z seems to be in {'red' if red > green else 'green'}, not blue; {ORDER_REMEDY}")
    if meaning.y == "down":
        normal = normal * (1, -1, 1)
    normal = np.where(length > 0.1, normal / np.maximum(length, 0.1), (0.0, 0.0, 1.0))
    return np.rint((normal + 1) * 127.5).astype(np.uint8)


def in_bgr(pixels: np.ndarray) -> bool:
    """Whether a map's red looks like z: hardly ever below 0, whereas blue is about 0 on average."""
    red, blue = pixels[..., 0] / 127.5 - 1, pixels[..., 2] / 127.5 - 1
    return bool(red.mean() > 0.35 and abs(blue.mean()) < 0.25 and (red < -0.1).mean() < 0.05)


def check_order(source: Path, found: list[bool]) -> None:
    """Refuse a source with `in_bgr` true of nearly all normal maps; a few may show a wall on the left.

    Raises:
        UsdError: it is.
    """
    if len(found) >= FEWEST and sum(found) >= LEAST_BGR * len(found):
        raise UsdError(
            f"{source}: in {sum(found)} of {len(found)} normal maps red looks like z, not blue; {ORDER_REMEDY}; "
            "if they are RGB, declare with --maps `normal: {y: up}`"
        )

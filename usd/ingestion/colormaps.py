"""Depth maps that were coloured for the eye: which colour map, and back to its values."""

import cv2
import numpy as np

NAMES = ("jet", "viridis", "magma", "inferno", "plasma", "turbo", "hot", "bone", "parula", "rainbow", "hsv", "cividis")
NEAR = 14.0  # mean distance in RGB of a picture to a colour map that it was made with, JPEG included
FARTHEST = 2 * NEAR  # distance of a pixel without a reading, such as black
GREY = 6.0  # mean spread of red, green and blue in a grey picture that was saved as JPEG

MOST_CARRIED = 0.002  # share of the pixels of a coloured map at which its channels step as the bytes of a number do


def table(name: str) -> np.ndarray:
    """The colours of a colour map, (256, 3) float32 RGB."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    coloured = cv2.applyColorMap(ramp, int(getattr(cv2, f"COLORMAP_{name.upper()}")))
    return np.asarray(coloured[:, 0, ::-1], np.float32)


def is_grey(picture: np.ndarray) -> bool:
    """Whether (H, W, 3) uint8 has no colour, save what JPEG leaves."""
    return float(np.ptp(picture, axis=-1).mean()) <= GREY


def packed(picture: np.ndarray) -> bool:
    """Whether two channels of (H, W, 3) uint8 are the bytes of one number, as CARLA and AirSim save depth.

    Where the lower byte falls from 255 to 0, the upper one rises by 1.
    """
    number = picture.astype(np.int32)
    for low, high in ((0, 1), (1, 0), (2, 1), (1, 2)):
        jumps = carried = 0
        for axis in (0, 1):
            step = np.diff(number, axis=axis)
            wraps = np.abs(step[..., low]) > 127
            jumps += int(wraps.sum())
            carried += int((wraps & (np.abs(step[..., low] + 256 * step[..., high]) < 128)).sum())
        if carried > MOST_CARRIED * picture[..., 0].size and carried * 2 > jumps:
            return True
    return False


def detect(picture: np.ndarray) -> str | None:
    """The colour map that (H, W, 3) uint8 was made with, either way round."""
    distances = {name: float(_distances(picture, name).mean()) for name in NAMES}
    best = min(distances, key=lambda name: distances[name])
    return best if distances[best] <= NEAR else None


def fits(picture: np.ndarray, name: str) -> bool:
    """Whether (H, W, 3) uint8 may be made with a colour map, some of its pixels aside, such as black for no reading."""
    distances = _distances(picture, name)
    if float(np.median(distances)) > NEAR:
        return False
    return float(distances.mean()) <= NEAR or detect(picture) is None


def values(picture: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The place of each pixel's colour in a colour map, and whether it is one of its colours.

    (H, W) uint8 and (H, W) bool of (H, W, 3) uint8.
    """
    flat, inverse = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    found = [_nearest(part.astype(np.float32), table(name)) for part in np.array_split(flat, len(flat) // 4096 + 1)]
    places, distances = (np.concatenate(each)[inverse.ravel()] for each in zip(*found, strict=True))
    shape = picture.shape[:2]
    return places.astype(np.uint8).reshape(shape), (distances <= FARTHEST).reshape(shape)


def _distances(picture: np.ndarray, name: str) -> np.ndarray:
    """How far some 2000 pixels are from a colour map, in RGB."""
    pixels = picture.reshape(-1, 3)
    return _nearest(pixels[:: max(1, len(pixels) // 2000)].astype(np.float32), table(name))[1]


def _nearest(colours: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each colour (N, 3) the place of the nearest known one (K, 3), and its distance. (N,), (N,)."""
    distance = np.linalg.norm(colours[:, None] - known[None], axis=-1)
    return distance.argmin(1), distance.min(1)

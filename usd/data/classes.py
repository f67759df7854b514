"""The segmentation palette: class id ⇄ colour."""

import colorsys

import numpy as np

OBJECTS: tuple[str, ...] = (
    "duck",
    "teddy bear",
    "mug",
    "r2d2 robot",
    "racecar",
    "soccer ball",
    "lego brick",
    "table",
    "chess table",
    "cube",
    "domino",
    "jenga block",
    "beach ball",
    "tray",
    "rover",
    "robot arm",
    "bicycle",
    "minitaur",
    "robot dog",
    "beam",
)
MOST_CLASSES = 256  # colours in all class maps of a dataset together
STRAY = 3  # levels in red, green and blue: colours that differ by no more are taken for one, as JPEG alters it
CLASSES: tuple[str, ...] = ("sky", "floor", *OBJECTS)


def _colour(index: int) -> tuple[int, int, int]:
    """Hues a golden angle apart, in three steps of brightness: neighbours in the list are far apart in colour."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.381966 % 1, 0.85, (1.0, 0.75, 0.5)[index % 3])
    return round(red * 255), round(green * 255), round(blue * 255)


PALETTE: np.ndarray = np.array(  # (classes, 3) uint8: sky, floor, then one colour a kind
    [(0, 0, 0), (96, 96, 96), *(_colour(index) for index in range(len(CLASSES) - 2))], dtype=np.uint8
)


def nearest_class(colours: np.ndarray, palette: np.ndarray = PALETTE) -> np.ndarray:
    """The class id (…,) uint8 whose colour in `palette` (≤ 256, 3) is nearest to each colour (…, 3) in [0, 255]."""
    distance = ((colours[..., None, :].astype(np.float32) - palette.astype(np.float32)) ** 2).sum(-1)
    return np.asarray(distance.argmin(-1), np.uint8)


def bit_colours(count: int) -> np.ndarray:
    """(count, 3) uint8: colours that differ, by the bits of the class number, as in PASCAL VOC."""
    numbers = np.arange(count)
    found = np.zeros((count, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            found[:, channel] |= ((numbers >> (3 * place + channel) & 1) << (7 - place)).astype(np.uint8)
    return found

"""Whether a map belongs to its picture, judged where absolute agreement says little, as with photographs.

Its relief, where it changes and how much, is correlated with that of its own picture, with those of other pictures of
the dataset, and with its own picture turned, mirrored and shifted. A map is a misfit if another place of its own
picture fits clearly better, or if half of the other pictures do.

Measured at 64 pixels, the share of maps that are misfits:

    maps                                    | right       | of another | mirrored | turned 90° | shifted 8
    depth, class ids, normals of 250 scenes | 0.4 %, 0, 0 | 71–76 %    | 93–96 %  | 98–100 %   | 88–97 %
    class masks, 198 crops of photographs   | 0.5 %       | 59 %       | 91 %     | 95 %       | 76 %
    measured disparity, 24 crops of two     | 4 %         | 88 %       | 75 %     | 83 %       | 58 %

Of all 4600 scenes 1.5 % of the depth maps are, and 0.1 % of the others. With the picture as JPEG of quality 30, blurred
(σ = 1.5), at half the size or with noise (σ = 12), 0.5 to 1 % of the masks are and 0 to 17 % of the disparities. Of the
maps that networks of the rendered scenes read off the photographs 17 to 31 % are: such maps are made from their
picture, and not judged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from usd.data.record import Manifest, field_path
from usd.errors import UsdError
from usd.images import read_png

SIDE = 32  # cells of a relief
STEEPEST = 48.0  # of `slope`; steeper edges count no more
OTHERS = 32  # pictures of the dataset that a map is compared with
STRANGER = 0.8  # correlation of two reliefs, from which on the pictures are taken for one
GOOD = 0.6  # a map that fits so well is not looked into further
GAIN, LEAST = 0.15, 0.3  # by how much, and at least how well, a map fits where it does not belong
LEAST_SHIFT, MOST_SHIFT = 2, 8  # cells; a shift is by more than the one and at most the other
TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # what was done to the picture → the relief that it gives
    "mirrored": lambda a: a[:, ::-1],
    "upside down and mirrored": lambda a: a[::-1],
    "upside down": lambda a: a[::-1, ::-1],
    "turned by 90° to the left": lambda a: np.rot90(a),
    "turned by 90° to the right": lambda a: np.rot90(a, -1),
    "turned by 90° and mirrored": lambda a: a.T,
    "turned by 270° and mirrored": lambda a: a[::-1, ::-1].T,
}


@dataclass(frozen=True)
class Panel:
    """Pictures of the dataset that every map is compared with."""

    scenes: Path
    samples: tuple[tuple[str, str], ...]  # key, and sha256 of the image

    @classmethod
    def of(cls, scenes: Path) -> "Panel":
        """Some of the samples of a folder dataset, spread evenly."""
        manifest = Manifest(scenes)
        places = {int(place) for place in np.linspace(0, len(manifest) - 1, OTHERS)}
        rows = (row for place, row in enumerate(manifest.rows()) if place in places)
        return cls(scenes, tuple((row["key"], row["image_sha256"]) for row in rows))


@cache
def reliefs(panel: Panel) -> np.ndarray:
    """The reliefs of the panel's pictures that are readable and not flat, (P, SIDE, SIDE) float32."""
    found = []
    for key, _ in panel.samples:
        try:
            picture = read_png(field_path(panel.scenes, key, "image"))
        except UsdError:
            continue  # the expectations on files name it
        if picture.ndim == 3 and (each := relief(slope(picture))) is not None:
            found.append(each)
    return np.stack(found) if found else np.empty((0, SIDE, SIDE), np.float32)


def slope(picture: np.ndarray) -> np.ndarray:
    """Sobel gradient of (H, W, 3) uint8, the steepest of the colours, in grey levels per two pixels. (H, W) float32."""
    channels = cv2.split(picture)
    if np.array_equal(channels[0], channels[1]) and np.array_equal(channels[0], channels[2]):
        channels = channels[:1]  # grey
    steep = [cv2.magnitude(cv2.Sobel(c, cv2.CV_32F, 1, 0), cv2.Sobel(c, cv2.CV_32F, 0, 1)) for c in channels]
    found: np.ndarray = np.maximum.reduce(steep) / 4
    return found


def relief(slopes: np.ndarray) -> np.ndarray | None:
    """Slopes (H, W) at SIDE × SIDE cells, their mean 0 and their length 1; None of a flat picture."""
    cells = cv2.resize(np.minimum(slopes, STEEPEST), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    cells = cv2.GaussianBlur(cells, (3, 3), 0)
    cells -= cells.mean()
    length = float(np.linalg.norm(cells))
    return cells / length if length > 1 else None


def misfits(maps: dict[str, np.ndarray], image: np.ndarray, others: np.ndarray, width: int) -> dict[str, str]:
    """What each map fits better than its picture; "" if nothing. Empty where there is no other picture to compare with.

    Args:
        maps: their reliefs, by name.
        image: the relief of their picture.
        others: the reliefs of other pictures, (P, SIDE, SIDE); those that are much like `image` are left out.
        width: of the picture, in pixels.
    """
    flat = others.reshape(-1, SIDE * SIDE)
    strangers = flat[flat @ image.ravel() < STRANGER]
    if not maps or not len(strangers):
        return {}
    turned = np.stack([turn(image).ravel() for turn in TURNS.values()])  # (turns, SIDE²)
    return {name: _misfit(own, image, strangers, turned, width) for name, own in maps.items()}


def _misfit(own: np.ndarray, image: np.ndarray, strangers: np.ndarray, turned: np.ndarray, width: int) -> str:
    """In words, what a map fits better than its picture."""
    fit = float(own.ravel() @ image.ravel())
    if fit > GOOD:
        return ""
    enough = max(fit + GAIN, LEAST)
    if (turns := turned @ own.ravel()).max() > enough:
        return f"fits its picture {list(TURNS)[turns.argmax()]}"
    moved = np.fft.irfft2(np.fft.rfft2(own) * np.conj(np.fft.rfft2(image)), (SIDE, SIDE))
    nearby = np.roll(moved, (MOST_SHIFT, MOST_SHIFT), (0, 1))[: 2 * MOST_SHIFT + 1, : 2 * MOST_SHIFT + 1]
    if nearby.max() > enough:
        down, right = (int(step) - MOST_SHIFT for step in np.unravel_index(nearby.argmax(), nearby.shape))  # cells
        if max(abs(down), abs(right)) > LEAST_SHIFT:
            return f"fits its picture shifted by about {_shift(right * width / SIDE, down * width / SIDE)}"
    beaten = float((strangers @ own.ravel() < fit).mean())
    return "" if beaten >= 0.5 else f"fits {1 - beaten:.0%} of other pictures better"


def _shift(right: float, down: float) -> str:
    """A shift in words; it is not zero."""
    across = f"{abs(round(right))} pixels to the {'right' if right > 0 else 'left'}"
    along = f"{abs(round(down))} pixels {'down' if down > 0 else 'up'}"
    return " and ".join(words for words, step in ((across, right), (along, down)) if step)

"""Pictures that are two of one view side by side, as those of pix2pix are: a photograph and its map in one file.

Of up to LOOKED_AT pictures that are twice as wide as high, both halves are reduced to their edges. The halves show one
view if no shift of the one fits the other better than none, and if those of other files fit worse. So pairs by a camera
that does not move are not found; and stereo pairs are taken for such, as they are two of one view.

Measured, the share of files of which that is said:

    photograph beside itself in other colours, its colour classes, its edges, a mask | 100 %, 95 %, 93 %, 42 %
    rendered scene beside its normals, its classes, its soft edges, its depth        | 100 %, 100 %, 98 %, 88 %
    crops of photographs; of rendered scenes; two scenes                             | 3 %; 4 %; 5 %
    drawn landscapes; streets all around; printed pages; rows of columns             | 10 %; 7 %; 3 %; 25 %
"""

import warnings
from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps

from usd.ingestion.checking import Checked
from usd.ingestion.findings import Finding, refused
from usd.ingestion.maplike import undeclared
from usd.ingestion.pictures import FORMATS
from usd.ingestion.suspects import FEWEST

LOOKED_AT = 64  # pictures
SIDE, FINE = 32, 64  # cells of the edges, and pixels a side of a half that is looked at
STEEPEST = 48.0  # grey levels per two pixels; steeper edges count no more
MOST_OTHERS = 0.1  # share of other halves that may fit better
REASON = (
    "two pictures of one view side by side, as most here that are twice as wide as high: split them, as "
    "docs/own-data.md shows, into folders such as image/ and depth/; if they are pictures as they are, such as "
    "panoramas or stereo pairs, give them captions, or name their folder in maps.yaml: `folders: {name: image}`"
)


def without_doubles(checked: list[Checked], folders: Collection[str]) -> tuple[list[Checked], list[Finding]]:
    """The samples without pictures that are two side by side, and the findings on these.

    If most of those looked at are, all that are twice as wide as high are taken for such, unless declared otherwise.

    Args:
        checked: all samples.
        folders: the names of those that are declared.
    """
    wide = [each for each in checked if each.row and each.wide and undeclared(each, folders)]
    if len(wide) < FEWEST:
        return checked, []
    places = np.unique(np.linspace(0, len(wide) - 1, LOOKED_AT).astype(int))
    jobs = [wide[place].job for place in places]
    pairs = [pair for job in jobs if (pair := _edges(job.source / job.sample.files["image"])) is not None]
    if len(pairs) < FEWEST or _one_view(np.array(pairs)) < max(FEWEST, len(jobs) / 2):
        return checked, []
    doubles = {id(each) for each in wide}
    kept = [each for each in checked if id(each) not in doubles]
    return kept, [refused(each.job.sample.files["image"], REASON) for each in wide]


def _edges(path: Path) -> np.ndarray | None:
    """The edges of both halves (2, SIDE, SIDE), their mean 0 and their length 1; None if one is flat."""
    with warnings.catch_warnings(action="ignore"), PIL.Image.open(path, formats=FORMATS) as file:
        file.draft(None, (4 * FINE, 4 * FINE))
        small = PIL.ImageOps.exif_transpose(file).convert("RGB").resize((2 * FINE, FINE), PIL.Image.Resampling.BOX)
    found = []
    for half in np.split(np.asarray(small), 2, axis=1):
        slopes = [
            cv2.magnitude(cv2.Sobel(c, cv2.CV_32F, 1, 0), cv2.Sobel(c, cv2.CV_32F, 0, 1)) for c in cv2.split(half)
        ]
        steep = np.minimum(np.maximum.reduce(slopes) / 4, STEEPEST)
        cells = cv2.resize(steep, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        cells = cv2.GaussianBlur(cells, (3, 3), 0)
        cells -= cells.mean()
        length = float(np.linalg.norm(cells))
        if length < 1:
            return None
        found.append(cells / length)
    return np.stack(found)


def _one_view(pairs: np.ndarray) -> int:
    """Of how many pairs (P, 2, SIDE, SIDE) of edges the halves show one view."""
    left, right = pairs[:, 0], pairs[:, 1]
    moved = np.fft.irfft2(np.fft.rfft2(left) * np.conj(np.fft.rfft2(right)), (SIDE, SIDE)).reshape(len(pairs), -1)
    down, across = np.unravel_index(moved.argmax(1), (SIDE, SIDE))  # by how much the right half fits best shifted
    still = (np.minimum(down, SIDE - down) <= 1) & (np.minimum(across, SIDE - across) <= 1)
    fits = left.reshape(len(pairs), -1) @ right.reshape(len(pairs), -1).T  # (P, P)
    own = np.diag(fits)
    better = ((fits > own[:, None]).sum(1) + (fits > own).sum(0)) / (2 * (len(pairs) - 1))
    return int((still & (better <= MOST_OTHERS)).sum())

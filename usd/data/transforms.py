"""Albumentations for an image and its maps: shared geometry, reproducible per sample."""

import hashlib
import os
import re
from functools import cache
from typing import Any

import numpy as np

from usd.tasks import has_directions

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

SIDE = re.compile(r"\b(left|right)(?=(most|wards?|hand|handed)?\b)", re.IGNORECASE)


def mirrored_caption(caption: str) -> str:
    """The caption of the mirrored picture: left and right, leftmost and rightmost, change places; letter case stays."""

    def other(found: re.Match[str]) -> str:
        word = found[0]
        swapped = "right" if word.lower() == "left" else "left"
        return swapped.upper() if word.isupper() else swapped.title() if word[0].isupper() else swapped

    lower = caption.lower()  # most captions have neither, and a search for the words is ten times as fast
    return SIDE.sub(other, caption) if "left" in lower or "right" in lower else caption


@cache
def _flip(probability: float) -> Any:
    import albumentations as A

    return A.HorizontalFlip(p=probability)


def augment(pictures: dict[str, np.ndarray], flip: float, seed: tuple[int, ...], key: str) -> bool:
    """Flip the picture fields of one sample together, in place, and say whether; (H, W, 3) uint8 each.

    The draw depends on `seed` and `key` alone, so workers and restarts do not change it. In a flipped map of
    directions, such as normals, the x components are mirrored as well.

    The result is that of `A.Compose` with the transform's seed set, as a test shows. This calls the transform itself,
    since for a picture of 64 pixels the checks of `Compose`, and its second generator, take ten times as long.
    """
    if not flip:
        return False
    transform = _flip(flip)
    digest = hashlib.blake2b(repr((seed, key)).encode(), digest_size=4).digest()
    transform.py_random.seed(int.from_bytes(digest, "little"))
    if not transform.should_apply():
        return False
    for field, picture in pictures.items():
        picture[:] = transform.apply(picture)
        if has_directions(field):
            np.subtract(255, picture[..., 0], out=picture[..., 0])
    return True

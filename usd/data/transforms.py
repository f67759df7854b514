"""Albumentations for an image and its maps: shared geometry, reproducible per sample."""

import hashlib
import os
import re
from functools import cache
from typing import Any

import numpy as np

from usd.tasks import MAPS

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


MARKER = "column"  # a mask of column numbers: tells after the transform whether it was mirrored


SIDE = re.compile(r"\b(left|right)(?=(most|wards?|hand|handed)?\b)", re.IGNORECASE)


def mirrored_caption(caption: str) -> str:
    """The caption of the mirrored picture: left and right, leftmost and rightmost, change places; letter case stays."""

    def other(found: re.Match[str]) -> str:
        word = found[0]
        swapped = "right" if word.lower() == "left" else "left"
        return swapped.upper() if word.isupper() else swapped.title() if word[0].isupper() else swapped

    return SIDE.sub(other, caption)


@cache
def _flip(probability: float, fields: tuple[str, ...]) -> Any:
    import albumentations as A

    targets = {field: "image" if MAPS[field].kind == "continuous" else "mask" for field in fields if field != "image"}
    return A.Compose([A.HorizontalFlip(p=probability)], additional_targets=targets | {MARKER: "mask"}, strict=True)


def augment(
    pictures: dict[str, np.ndarray], flip: float, seed: tuple[int, ...], key: str
) -> tuple[dict[str, np.ndarray], bool]:
    """Flip the picture fields of one sample together, and say whether; (H, W, 3) uint8 each, `image` among them.

    The draw depends on `seed` and `key` alone, so workers and restarts do not change it. A flipped normal map gets
    the x component of its normals mirrored as well.
    """
    if not flip:
        return pictures, False
    transform = _flip(flip, tuple(sorted(pictures)))
    digest = hashlib.blake2b(repr((seed, key)).encode(), digest_size=4).digest()
    transform.set_random_seed(int.from_bytes(digest, "little"))
    height, width = pictures["image"].shape[:2]
    result = transform(**pictures, **{MARKER: np.tile(np.arange(width, dtype=np.int32), (height, 1))})
    mirrored = bool(result[MARKER][0, 0] != 0)
    if mirrored and "normal" in pictures:
        result["normal"] = result["normal"].copy()
        result["normal"][..., 0] = 255 - result["normal"][..., 0]
    return {field: result[field] for field in pictures}, mirrored

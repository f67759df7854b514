"""What the pictures of one sample show, as numbers and words: a part of its row in the table."""

from typing import Any

import cv2
import numpy as np

from usd.data.classes import CLASSES, PALETTE
from usd.data.likeness import BLANK, mirrored_hash, perceptual_hash, thumbnail
from usd.tasks import MAPS
from usd.validation.fit import misfits, relief, slope

ALIGNED = tuple(name for name in MAPS if name != "outpaint")  # maps whose edges must be edges of the image
IMAGE_EDGE, MAP_EDGE = 8.0, 64.0  # of `slope`; low and high, so that all map edges are image edges
GREY = 0x808080  # what the outpainting map hides
FEWEST_EDGE_PIXELS = 20  # a map with fewer says nothing about alignment
FLAT, SPREAD = 0.995, 3.0  # share of a flat map's pixels that are within so many levels of its mean colour
KNOWN = np.array([red << 16 | green << 8 | blue for red, green, blue in PALETTE.tolist()], np.int32)

Row = dict[str, Any]


def measure(pictures: dict[str, np.ndarray], brought: list[str], others: np.ndarray) -> Row:
    """What the pictures of one sample, which have one size and the right kind, show; nothing of one that is missing.

    Args:
        pictures: by their names in `usd.validation.inspection.FILES`.
        brought: the maps that were not made from the image, and so may belong to another.
        others: reliefs of pictures of the dataset, (P, SIDE, SIDE).
    """
    row: Row = {"look": 0, "mirrored": 0, "thumbnail": BLANK}
    image, depth_mm, class_id = (pictures.get(f"scenes/{name}") for name in ("image", "depth_mm", "class_id"))
    maps = {name: pictures[f"annotated/{name}"] for name in MAPS if f"annotated/{name}" in pictures}
    if depth_mm is not None:
        row |= {"depth": depth_mm.mean() / 1000, "depth_min_mm": depth_mm.min(), "depth_max_mm": depth_mm.max()}
    if class_id is not None:
        areas = np.bincount(class_id.ravel(), minlength=len(CLASSES)) / class_id.size
        row |= {"class_max": class_id.max()} | {f"area_{n}": a for n, a in zip(CLASSES, areas, strict=False)}
    if "seg" in maps:
        colours = colour(maps["seg"])
        if class_id is None:  # your own maps have colours of their own
            row["classes"] = np.unique(colours).tobytes()
        else:
            row["classes"] = KNOWN[np.unique(class_id.clip(max=len(CLASSES) - 1))].tobytes()
            row["off_palette"] = int((~np.isin(colours, KNOWN)).sum())
            row["off_class"] = int((colours != KNOWN.take(class_id, mode="clip")).sum())
    if "canny" in maps:
        row["off_binary"] = int(((maps["canny"] != 0) & (maps["canny"] != 255)).sum())
    if "normal" in maps:
        normal = maps["normal"].astype(np.float32) / 127.5 - 1
        row["off_normal"] = float(np.abs(np.sqrt(np.einsum("hwc,hwc->hw", normal, normal)) - 1).max())
    row |= {f"flat_{name}": flat(maps[name]) for name in ALIGNED if name in maps}
    if image is not None:
        slopes = {name: slope(maps[name]) for name in ALIGNED if name in maps}
        own = slope(image)
        edges = own > IMAGE_EDGE
        near = cv2.dilate(edges.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        row |= {"brightness": image.mean() / 255, "edge_density": edges.mean()}
        row |= {"look": perceptual_hash(image), "mirrored": mirrored_hash(image), "thumbnail": thumbnail(image)}
        row |= {f"alignment_{name}": alignment(near, steep) for name, steep in slopes.items()}
        row |= fits({name: slopes[name] for name in brought if name in slopes}, own, others)
        if "outpaint" in maps:
            kept = colour(maps["outpaint"])
            row["off_outpaint"] = int(((kept != colour(image)) & (kept != GREY)).sum())
    return row


def flat(picture: np.ndarray) -> str:
    """The one colour of a map (H, W, 3), a few pixels aside; "" if it has several."""
    mean = np.array(cv2.mean(picture)[:3])
    alike = cv2.countNonZero(cv2.inRange(picture, mean - SPREAD, mean + SPREAD))
    if alike < FLAT * picture.shape[0] * picture.shape[1]:
        return ""
    red, green, blue = np.median(picture.reshape(-1, 3), axis=0).astype(int).tolist()
    return f"all #{red:02x}{green:02x}{blue:02x}"


def fits(slopes: dict[str, np.ndarray], image: np.ndarray, others: np.ndarray) -> Row:
    """What maps of these slopes (H, W) fit better than their image of slopes `image`; nothing of a flat one."""
    reliefs = {name: relief(steep) for name, steep in slopes.items()}
    known = {name: each for name, each in reliefs.items() if each is not None}
    whole = relief(image)
    if whole is None:
        return {}
    return {f"misfit_{name}": words for name, words in misfits(known, whole, others, image.shape[1]).items()}


def alignment(near: np.ndarray, steep: np.ndarray) -> float | None:
    """How far the edges of a map of slopes `steep` (H, W) are edges of its image: 1 all of them, 0 as by chance.

    The share of the map's edge pixels that are `near` (H, W) an image edge, within a pixel, corrected as in Cohen's κ
    by the share of all pixels that are; about 0.1 for the map of another scene. None where there are too few edges to
    tell.
    """
    own = steep > MAP_EDGE
    chance = near.mean()
    if np.count_nonzero(own) < FEWEST_EDGE_PIXELS or chance > 0.98:
        return None
    return max(0.0, float((near[own].mean() - chance) / (1 - chance)))


def colour(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 as one number 0xRRGGBB a pixel. (H, W) int32."""
    packed = cv2.cvtColor(picture, cv2.COLOR_RGB2BGRA).view("<i4")[..., 0]  # blue is the lowest byte
    return np.asarray(packed & 0xFFFFFF, np.int32)

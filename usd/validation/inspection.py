"""The per-sample table: what the manifests promise of each sample, and what its files turn out to hold.

One row a key. Text columns such as `missing` list the files at fault and are empty where all is well; a number is
missing where the file it is read from is.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from usd.data.classes import CLASSES, PALETTE
from usd.data.record import MANIFEST, compact, field_path, read_manifest, records
from usd.errors import UsdError
from usd.files import sha256
from usd.images import decode_png
from usd.parallel import parallel_map
from usd.tasks import MAPS

RGB = ("uint8", 3)  # type, dimensions
TRUTH: dict[str, tuple[str, int]] = {  # what a sample has if its manifest row declares it: own pictures do not
    "scenes/depth_mm": ("uint16", 2),
    "scenes/class_id": ("uint8", 2),
    "scenes/normal": RGB,
}
FILES: dict[str, tuple[str, int]] = {  # every file a sample may have; those not in TRUTH it must have
    "scenes/image": RGB,
    **TRUTH,
    **{f"annotated/{name}": RGB for name in MAPS},
}
SHARED = ("key", "split", "seed", "caption", "image_sha256")  # what both manifests say of a sample
ALIGNED = tuple(name for name in MAPS if name != "outpaint")  # maps whose edges must be edges of the image
IMAGE_EDGE, MAP_EDGE = 8.0, 64.0  # of `slope`; low and high, so that all map edges are image edges
GREY = 0x808080  # what the outpainting map hides
FEWEST_EDGE_PIXELS = 20  # a map with fewer says nothing about alignment
SERIAL = 200  # samples; below, starting worker processes takes longer than the work

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A sample to be inspected."""

    declared: Row  # what the manifests say: column → value, "scenes/" or "annotated/" before its name
    scenes: Path
    annotated: Path


@dataclass
class Reading:
    """The files of one sample as they are on disk."""

    pictures: dict[str, np.ndarray]
    digests: dict[str, str]
    missing: list[str]
    unreadable: list[str]


def inspect_samples(scenes: Path, annotated: Path) -> pd.DataFrame:
    """The table of two folder datasets, sorted by key; a key that either manifest repeats is repeated.

    Raises:
        UsdError: a manifest is missing, or there is no sample.
    """
    left, right = (read_manifest(root).add_prefix(f"{name}/") for name, root in _roots(scenes, annotated).items())
    both = left.merge(right, how="outer", left_on="scenes/key", right_on="annotated/key")
    if both.empty:
        raise UsdError(f"{scenes / MANIFEST}: no samples; run `dvc repro render annotate`")
    jobs = (Job(_declared(row), scenes, annotated) for row in records(both))
    serial = len(both) < SERIAL
    rows = map(inspect, jobs) if serial else parallel_map(inspect, jobs, "validate", len(both))
    table = compact(rows).to_pandas().sort_values("key", ignore_index=True)
    table["leaks"] = _leaks(table)
    return table


def inspect(job: Job) -> Row:
    """One row of the table: every file of the sample is read once."""
    declared = job.declared
    key = str(declared["annotated/key"] or declared["scenes/key"])
    split = declared["annotated/split"] or declared["scenes/split"]
    caption = str(declared["annotated/caption"] or "").strip()
    expected = [name for name in FILES if name not in TRUTH or declared.get(f"{name}_sha256")]
    reading = _read(key, expected, _roots(job.scenes, job.annotated))
    image = reading.pictures.get("scenes/image")
    sides = {name: f"{picture.shape[1]}x{picture.shape[0]}" for name, picture in reading.pictures.items()}
    kinds = {name: (str(picture.dtype), picture.ndim) for name, picture in reading.pictures.items()}
    size = sides.get("scenes/image") or next(iter(sides.values()), None)
    sound = {n: p for n, p in reading.pictures.items() if sides[n] == size and kinds[n] == FILES[n]}
    return {
        "key": key,
        "split": split,
        "folder": key.split("-")[0],
        "disagrees": _names(n for n in SHARED if declared.get(f"scenes/{n}") != declared.get(f"annotated/{n}")),
        "missing": _names(reading.missing),
        "unreadable": _names(reading.unreadable),
        "altered": _names(n for n, found in reading.digests.items() if declared.get(f"{n}_sha256") != found),
        "wrong_kind": _names(n for n, kind in kinds.items() if kind != FILES[n]),
        "wrong_size": _names(f"{n} {side}" for n, side in sides.items() if side != size),
        "blank": _names(n for n, p in sound.items() if n in ("scenes/image", "annotated/depth") and p.min() == p.max()),
        "size": size,
        "caption_length": len(caption),
        "image_hash": None if image is None else sha256(repr(image.shape).encode() + image.tobytes()),
        "sample_hash": sha256(json.dumps([key, split, caption, reading.digests], sort_keys=True).encode()),
        **measure(sound),
    }


def measure(pictures: dict[str, np.ndarray]) -> Row:
    """Numbers read from the pictures of one sample, which have one size and the right kind; None if one is missing."""
    row: Row = dict.fromkeys(("brightness", "edge_density", "depth", "depth_min_mm", "depth_max_mm", "class_max"))
    row |= dict.fromkeys(("off_palette", "off_class", "off_binary", "off_outpaint", "off_normal"))
    row |= dict.fromkeys(f"alignment_{name}" for name in ALIGNED) | dict.fromkeys(f"area_{name}" for name in CLASSES)
    image, depth_mm, class_id = (pictures.get(f"scenes/{name}") for name in ("image", "depth_mm", "class_id"))
    maps = {name: pictures[f"annotated/{name}"] for name in MAPS if f"annotated/{name}" in pictures}
    if depth_mm is not None:
        row |= {"depth": depth_mm.mean() / 1000, "depth_min_mm": depth_mm.min(), "depth_max_mm": depth_mm.max()}
    if class_id is not None:
        areas = np.bincount(class_id.ravel(), minlength=len(CLASSES)) / class_id.size
        row |= {"class_max": class_id.max()} | {f"area_{n}": a for n, a in zip(CLASSES, areas, strict=False)}
    if "seg" in maps and class_id is not None:  # own maps have colours of their own
        colours, known = colour(maps["seg"]), colour(PALETTE)
        row["off_palette"] = int((~np.isin(colours, known)).sum())
        row["off_class"] = int((colours != known.take(class_id, mode="clip")).sum())
    if "canny" in maps:
        row["off_binary"] = int(((maps["canny"] != 0) & (maps["canny"] != 255)).sum())
    if "normal" in maps:
        normal = maps["normal"] / 127.5 - 1
        row["off_normal"] = float(np.abs(np.sqrt(np.einsum("hwc,hwc->hw", normal, normal)) - 1).max())
    if image is not None:
        edges = slope(image) > IMAGE_EDGE
        row |= {"brightness": image.mean() / 255, "edge_density": edges.mean()}
        row |= {f"alignment_{name}": alignment(edges, maps[name]) for name in ALIGNED if name in maps}
        if "outpaint" in maps:
            colours = colour(maps["outpaint"])
            row["off_outpaint"] = int(((colours != colour(image)) & (colours != GREY)).sum())
    return row


def alignment(edges: np.ndarray, picture: np.ndarray) -> float | None:
    """How far the edges of a map (H, W, 3) are edges (H, W) of its image: 1 all of them, 0 no more than by chance.

    The share of the map's edge pixels that are within a pixel of an image edge, corrected as in Cohen's κ by the share
    of all pixels that are; about 0.1 for the map of another scene. None where there are too few edges to tell.
    """
    near = cv2.dilate(edges.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    own = slope(picture) > MAP_EDGE
    chance = near.mean()
    if own.sum() < FEWEST_EDGE_PIXELS or chance > 0.98:
        return None
    return max(0.0, float((near[own].mean() - chance) / (1 - chance)))


def slope(picture: np.ndarray) -> np.ndarray:
    """Sobel gradient of (H, W, 3) uint8, the steepest of the colours, in grey levels per two pixels. (H, W) float32."""
    values = picture.astype(np.float32)
    across, down = cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1)
    red, green, blue = cv2.split(across**2 + down**2)
    return np.sqrt(cv2.max(cv2.max(red, green), blue)) / 4


def colour(picture: np.ndarray) -> np.ndarray:
    """(…, 3) uint8 as one number 0xRRGGBB a pixel. (…,) int32."""
    return picture.astype(np.int32) @ np.array([0x10000, 0x100, 1], np.int32)


def _read(key: str, expected: list[str], roots: dict[str, Path]) -> Reading:
    """Read, digest and decode the files of a sample; the digest of the image counts for both manifests."""
    reading = Reading({}, {}, [], [])
    for name in expected:
        folder, field = name.split("/")
        try:
            data = field_path(roots[folder], key, field).read_bytes()
        except OSError:
            reading.missing.append(name)
            continue
        reading.digests[name] = sha256(data)
        try:
            reading.pictures[name] = decode_png(data, name)
        except UsdError:
            reading.unreadable.append(name)
    if "scenes/image" in reading.digests:
        reading.digests["annotated/image"] = reading.digests["scenes/image"]
    return reading


def _leaks(table: pd.DataFrame) -> list[str]:
    """For each sample the keys in other splits that have the same image."""
    places: dict[str, list[tuple[str, str]]] = {}
    entries = list(zip(table["image_hash"], table["key"], table["split"], strict=True))
    for digest, key, split in entries:
        places.setdefault(str(digest), []).append((key, split))
    return [_names(k for k, s in places[str(d)] if s != split) if isinstance(d, str) else "" for d, _, split in entries]


def _declared(row: Row) -> Row:
    """What the manifests say, None where one says nothing."""
    return {name: None if pd.isna(value) else value for name, value in row.items()}


def _roots(scenes: Path, annotated: Path) -> dict[str, Path]:
    return {"scenes": scenes, "annotated": annotated}


def _names(names: Any) -> str:
    return ", ".join(names)

"""The per-sample table: what the manifests promise of each sample, and what its files turn out to hold.

One row a key. Text columns such as `missing` list the files at fault and are empty where all is well; a number is
missing where the file it is read from is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, product, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from usd.data.classes import CLASSES
from usd.data.record import TRUTH, Manifest, field_path, sample_hash
from usd.errors import UsdError
from usd.files import sha256
from usd.images import decode_png
from usd.parallel import parallel_map
from usd.tasks import MAPS
from usd.validation.columns import Labels, Numbers, TableBuilder, Texts
from usd.validation.dataset import leaks, near_leaks, repeated, stray_colours
from usd.validation.fit import Panel, reliefs
from usd.validation.measures import ALIGNED, Row, measure

RGB = ("uint8", 3)  # type, dimensions
DECLARED_FILES: dict[str, tuple[str, int]] = {  # what a sample has if its manifest row declares it: photographs do not
    "scenes/depth_mm": ("uint16", 2),
    "scenes/class_id": ("uint8", 2),
    "scenes/normal": RGB,
}
FILES: dict[str, tuple[str, int]] = {  # every file a sample may have; those not in DECLARED_FILES it must have
    "scenes/image": RGB,
    **DECLARED_FILES,
    **{f"annotated/{name}": RGB for name in MAPS},
}
SHARED = ("key", "split", "seed", "caption", "image_sha256")  # what both manifests say of a sample
# which tell pictures apart, or find those that are alike; 0 of those not there
HASHES = ("look", "mirrored", "image_hash", *(f"digest_{name}" for name in ALIGNED))
SERIAL = 200  # samples; below, starting worker processes takes longer than the work


@dataclass(frozen=True)
class Inspection:
    """A sample to be inspected."""

    declared: Row  # what the manifests say: column → value, "scenes/" or "annotated/" before its name
    scenes: Path
    annotated: Path
    panel: Panel


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
        UsdError: a manifest is missing, or has no sample.
    """
    return tabulate(inspected(scenes, annotated))


def tabulate(rows: Iterable[Row]) -> pd.DataFrame:
    """The table of the rows that `inspect` makes, with the columns for which all samples are seen together."""
    found, thumbnails = columns(), bytearray()
    for row in rows:
        found.append(row)
        thumbnails += row["thumbnail"]
    table = found.table()
    del found
    table["near_leaks"] = pd.Categorical(near_leaks(table, np.frombuffer(thumbnails, np.uint8).reshape(len(table), -1)))
    del thumbnails
    table["leaks"], table["stray_colours"] = pd.Categorical(leaks(table)), pd.Categorical(stray_colours(table))
    for name in ALIGNED:
        table[f"flat_{name}"] = pd.Categorical(repeated(table, name))
    return table.drop(columns=list(HASHES))


def columns() -> TableBuilder:
    """Those of the table, without rows. Numbers have 4 bytes where that is exact: areas, and counts of pixels."""
    faults = ("disagrees", "missing", "unreadable", "altered", "wrong_kind", "wrong_size", "blank")
    words = [f"{what}_{name}" for what in ("flat", "misfit") for name in ALIGNED]
    labels = ("split", "folder", *faults, "size", *words)
    off = [f"off_{what}" for what in ("palette", "class", "binary", "outpaint")]
    counts = ("caption_length", "depth_min_mm", "depth_max_mm", "class_max", *off)
    shares = ("brightness", "edge_density", "depth", "off_normal", *(f"alignment_{name}" for name in ALIGNED))
    return TableBuilder(
        {name: Texts(pa.large_string()) for name in ("key", "caption")}
        | {name: Texts(pa.large_binary()) for name in ("sample_hash", "classes")}
        | {name: Labels() for name in labels}
        | {name: Numbers("d") for name in shares}
        | {name: Numbers("f") for name in (*counts, *(f"area_{name}" for name in CLASSES))}
        | {name: Numbers("Q") for name in HASHES}
    )


def inspected(scenes: Path, annotated: Path) -> Iterator[Row]:
    """The rows of all samples, sorted by key."""
    manifests = {name: Manifest(root) for name, root in _roots(scenes, annotated).items()}
    count = max(map(len, manifests.values()))
    panel = Panel.of(scenes)
    jobs = (Inspection(declared, scenes, annotated, panel) for declared in _declared(manifests))
    return parallel_map(inspect, jobs, "validate", count, serial_below=SERIAL)


def _declared(manifests: dict[str, Manifest]) -> Iterator[Row]:
    """What the manifests say of each key; those that one of them repeats come as often, with each of the other's."""
    rows = merge(*(zip(m.rows(), repeat(name)) for name, m in manifests.items()), key=lambda each: str(each[0]["key"]))
    for _, found in groupby(rows, lambda each: each[0]["key"]):
        of: dict[str, list[Row]] = {name: [] for name in manifests}
        for row, name in found:
            of[name].append({f"{name}/{column}": value for column, value in row.items()})
        for left, right in product(*(each or [{}] for each in of.values())):
            yield left | right


def inspect(job: Inspection) -> Row:
    """One row of the table: every file of the sample is read once."""
    declared = job.declared
    key = str(declared.get("annotated/key") or declared["scenes/key"])
    split = declared.get("annotated/split") or declared["scenes/split"]
    caption = str(declared.get("annotated/caption") or "").strip()
    expected = [name for name in FILES if name not in DECLARED_FILES or declared.get(f"{name}_sha256")]
    fields = {name: (name, TRUTH.get(name, name)) for name in ALIGNED}
    brought = [name for name, each in fields.items() if any(declared.get(f"scenes/{field}_sha256") for field in each)]
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
        "blank": _names(n for n, p in sound.items() if n == "scenes/image" and p.min() == p.max()),
        "size": size,
        "caption": caption,
        "caption_length": len(caption),
        "image_hash": 0 if image is None else _number(sha256(repr(image.shape).encode() + image.tobytes())),
        "sample_hash": sample_hash(key, split, caption, reading.digests),
        **{f"digest_{name}": _number(reading.digests.get(f"annotated/{name}", "0")) for name in ALIGNED},
        **measure(sound, brought, reliefs(job.panel)),
    }


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


def _number(digest: str) -> int:
    """The first 64 bits of a hexadecimal digest."""
    return int(digest[:16], 16)


def _roots(scenes: Path, annotated: Path) -> dict[str, Path]:
    return {"scenes": scenes, "annotated": annotated}


def _names(names: Any) -> str:
    return ", ".join(names)

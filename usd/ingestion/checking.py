"""The check of a sample: all its files read, by what the values of its maps mean."""

import os
from dataclasses import dataclass
from math import isclose
from pathlib import Path

from usd.data.likeness import mirrored_hash, perceptual_hash
from usd.files import path_text, sha256
from usd.images import encode_png
from usd.ingestion.colormaps import is_grey
from usd.ingestion.findings import TOGETHER, Finding, refused
from usd.ingestion.maps import to_picture
from usd.ingestion.meanings import Maps
from usd.ingestion.normals import in_bgr
from usd.ingestion.pictures import Picture, Refused, read_picture
from usd.ingestion.raw import read_raw
from usd.ingestion.scan import Sample

OUTSIDE = "outside the folder of pictures, which alone is read"
SERIAL = 32  # files; below, starting worker processes takes longer than the work


@dataclass(frozen=True)
class SampleCheck:
    """A sample to be checked, and where to put its pictures."""

    number: int
    sample: Sample
    source: Path
    incoming: Path
    size: int  # pixels a side
    maps: Maps

    def path(self, field: str) -> Path:
        """Where a picture waits for its key."""
        return self.incoming / f"{self.number}.{field}.png"


@dataclass(frozen=True)
class Checked:
    """What came of a sample; the row is empty if it is refused."""

    job: SampleCheck
    findings: list[Finding]  # on its files
    row: dict[str, object]  # of the manifest: digests, meanings, shares of missing values
    content: str = ""  # sha256 of the image file
    looks: tuple[int, int] = (0, 0)  # perceptual hashes of the image and of its mirror image
    plain: bool = False  # whether the image is grey or of few colours, or has a palette, as maps have
    few: bool = False  # whether it has few colours
    deep: bool = False  # whether it is grey of 16 bits
    wide: bool = False  # whether it is twice as wide as high
    bgr: bool | None = None  # whether the normal map looks as if it were in BGR order; None: there is none


def check(job: SampleCheck) -> Checked:
    """Read all files of a sample; if all are sound, its pictures wait for their key."""
    pictures: dict[str, Picture] = {}
    bad: list[Finding] = []
    for field, file in job.sample.files.items():
        try:
            _check_place(job.source, file)
            if field == "image":
                pictures[field] = read_picture(job.source / file, job.size)
            elif "image" in pictures:
                pictures[field] = to_picture(read_raw(job.source / file), field, job.maps, pictures["image"], job.size)
            else:
                continue
            if field != "seg" and pictures[field].blank:
                del pictures[field]
                raise Refused("blank: a single colour")
        except Refused as reason:
            bad.append(refused(file, str(reason)))
    if bad:
        why = f"{TOGETHER}: {path_text(Path(bad[0].file))} is refused"
        named = {each.file for each in bad}
        rest = [file for file in job.sample.files.values() if path_text(file) not in named]
        return Checked(job, bad + [refused(file, why) for file in rest], {})
    row: dict[str, object] = {}
    for field, picture in pictures.items():
        data = encode_png(picture.pixels)
        job.path(field).write_bytes(data)
        row[f"{field}_sha256"] = sha256(data)
        if field != "image":
            row[f"{field}_meaning"] = job.maps.describe(field)
        if field in ("depth", "seg"):
            row[f"{field}_missing"] = picture.missing
    good = [_sound(job.sample.files[field], picture) for field, picture in pictures.items()]
    image = pictures["image"]
    plain = image.few or "palette" in image.repairs or is_grey(image.pixels)
    deep = {"16-bit", "grey"} <= set(image.repairs)
    wide = isclose(image.shape, 2)
    looks = perceptual_hash(image.pixels), mirrored_hash(image.pixels)
    bgr = in_bgr(pictures["normal"].pixels) if "normal" in pictures else None
    return Checked(job, good, row, image.sha256, looks, plain, image.few, deep, wide, bgr)


def _check_place(source: Path, file: Path) -> None:
    """Refuse a map of a table that is not in the source."""
    if is_outside(file):
        raise Refused(f"{OUTSIDE}; copy it there")
    if not os.path.lexists(source / file):
        raise Refused("not there; paths in a table are relative to its folder")


def is_outside(file: Path) -> bool:
    """Whether a path that a table names leads out of the source."""
    return file.is_absolute() or ".." in file.parts


def _sound(file: Path, picture: Picture) -> Finding:
    return Finding(path_text(file), "repaired" if picture.repairs else "accepted", ", ".join(picture.repairs))

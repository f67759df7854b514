"""`usd ingest`: own pictures as a folder dataset, in the record that the later stages read.

Every file gets an answer, and none ends the others; `report.csv` in the dataset lists all answers. An image is taken
with all its maps or not at all, so that its maps have one origin. The source is only read.

| found | answer |
|---|---|
| EXIF rotation; palette, grey, 16-bit, CMYK, alpha; ICC profile | repaired: upright, 8-bit sRGB, on white |
| ICC profile that does not fit the picture | repaired: dropped |
| another format than the file's ending says | repaired: read as what it is |
| spaces, line breaks, any letters or bytes in a name | accepted; the key is made anew, the name is in the manifest |
| near-duplicates | accepted, all in one split |
| 0 bytes; more than 256 MiB; no permission; link to nowhere or to itself; device or pipe | refused |
| not a picture whatever its name; header or data cut off or damaged | refused |
| more than 100 megapixels (decompression bomb); a side of less than 16 pixels | refused |
| animated, several pages; floating point or more than 16 bits; a single colour (image or depth map) | refused |
| two images, or two maps of a kind, for one name | refused, all files of that name |
| map of another shape (width / height, 2 %) than its image, or refused for a reason above | refused, with its image |
| map of another size but the same shape | accepted |
| map without its image; canny or outpaint map (stage `annotate` makes them) | refused; the image is not concerned |
| caption without its image; empty, not UTF-8, or a second one | refused; the image's name makes its caption |
| metadata file not in its form; a row that names no image or has no text | refused; likewise |
| instruct-pix2pix: no caption in prompt.json; not in seeds.json | refused |
| link to a folder; hidden file or folder | refused, not followed |
| folder named like a picture | refused; its files are read |
| any other file | refused |
"""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from usd.data.record import MANIFEST, SPLITS, field_path, write_manifest
from usd.errors import UsdError
from usd.files import atomic_directory, sha256
from usd.images import encode_png
from usd.ingestion.findings import REPORT, Finding, as_csv, name_of, reasons, refused
from usd.ingestion.pictures import Picture, Refused, read_picture
from usd.ingestion.sources import LAYOUTS, Sample
from usd.ingestion.splits import assign, families, perceptual_hash
from usd.parallel import parallel_map

STEP = 8  # pixels; the networks halve a picture three times


@dataclass(frozen=True)
class Job:
    """A sample to be checked, and where to put its pictures."""

    number: int
    sample: Sample
    source: Path
    incoming: Path
    size: int  # pixels a side

    def path(self, field: str) -> Path:
        """Where a picture waits for its key."""
        return self.incoming / f"{self.number}.{field}.png"


@dataclass(frozen=True)
class Checked:
    """What came of a sample; digests are empty if it is refused."""

    job: Job
    findings: list[Finding]  # on its files
    digests: dict[str, str]  # `<field>_sha256` → of its PNG
    content: str = ""  # sha256 of the image file
    look: int = 0  # perceptual hash of the image


def ingest(
    source: Path, out: Path, layout: Literal["folder", "instruct-pix2pix"] = "folder", size: int = 64, seed: int = 1
) -> list[Finding]:
    """Make the folder dataset `out` of the pictures in `source`; returns what became of every file, by name.

    Raises:
        UsdError: nothing can be used, or a path or the size will not do.
    """
    _check_arguments(source, out, size)
    scan = LAYOUTS[layout](source)
    with atomic_directory(out) as scratch:
        incoming = scratch / "incoming"
        incoming.mkdir()
        jobs = [Job(number, sample, source, incoming, size) for number, sample in enumerate(scan.samples)]
        checked = list(parallel_map(check, jobs, "ingest", len(jobs)))
        taken = [each for each in checked if each.digests]
        left = [finding for each in checked if not each.digests for finding in each.findings]
        if not taken:
            why = ", ".join(f"{reason} ({count})" for reason, count in reasons(scan.findings + left).most_common(3))
            raise UsdError(f"{source}: no picture there that can be used; {why or 'the folder is empty'}")
        findings = sorted(scan.findings + left + _store(taken, scratch, seed), key=lambda each: each.file)
        incoming.rmdir()
        (scratch / REPORT).write_text(as_csv(findings), encoding="utf-8")
    return findings


def check(job: Job) -> Checked:
    """Read all files of a sample; if all are sound, its pictures wait for their key."""
    pictures: dict[str, Picture] = {}
    bad: list[Finding] = []
    for field, file in job.sample.files.items():
        try:
            picture = read_picture(job.source / file, job.size, field)
            if not picture.fits(pictures.get("image", picture)):
                raise Refused("of another shape than its image")
            if field in ("image", "depth") and picture.blank:
                raise Refused("blank: a single colour")
            pictures[field] = picture
        except Refused as reason:
            bad.append(refused(file, str(reason)))
    if bad:
        why = f"taken with all its files or not at all: {bad[0].file} is refused"
        return Checked(job, bad + [refused(job.sample.files[field], why) for field in pictures], {})
    digests = {}
    for field, picture in pictures.items():
        data = encode_png(picture.pixels)
        job.path(field).write_bytes(data)
        digests[f"{field}_sha256"] = sha256(data)
    good = [_sound(job.sample.files[field], picture) for field, picture in pictures.items()]
    image = pictures["image"]
    return Checked(job, good, digests, image.sha256, perceptual_hash(image.pixels))


def _store(taken: list[Checked], scratch: Path, seed: int) -> list[Finding]:
    """Give the samples their splits and keys, move their pictures there and write the manifest."""
    for split in SPLITS:
        (scratch / split).mkdir()
    family = families([each.look for each in taken], [each.job.sample.group for each in taken])
    counts: Counter[str] = Counter()
    rows: list[dict[str, object]] = []
    findings: list[Finding] = []
    for each, split in zip(taken, assign(family, [each.content for each in taken], seed), strict=True):
        key, sample = f"{split}-{counts[split]:05d}", each.job.sample
        counts[split] += 1
        for field in sample.files:
            os.replace(each.job.path(field), field_path(scratch, key, field))
        row = {"key": key, "split": split, "seed": seed, "caption": sample.caption}
        rows.append(row | {"source": name_of(sample.files["image"]), "source_sha256": each.content} | each.digests)
        findings += [replace(finding, key=key) for finding in each.findings]
    write_manifest(rows, scratch)
    return findings


def _sound(file: Path, picture: Picture) -> Finding:
    return Finding(name_of(file), "repaired" if picture.repairs else "accepted", ", ".join(picture.repairs))


def _check_arguments(source: Path, out: Path, size: int) -> None:
    """Refuse what would read nothing, overwrite the source or something else, or not fit the networks."""
    if not source.is_dir():
        raise UsdError(f"{source}: not a folder; `usd ingest` takes a folder of pictures")
    if size < 2 * STEP or size % STEP:
        raise UsdError(f"--size {size}: must be a multiple of {STEP}, {2 * STEP} or more")
    inner, outer = source.resolve(), out.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise UsdError(f"{out}: overlaps with {source}, which is only read; choose another folder for --out")
    if out.exists() and not (out / MANIFEST).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise UsdError(f"{out}: exists and is no dataset, so it is kept; choose another folder for --out")

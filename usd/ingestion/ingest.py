"""`usd ingest`: your own pictures as a folder dataset, in the record that the later stages read.

Every file gets an answer, and none ends the others; `report.csv` in the dataset lists all answers. An image is taken
with all its maps or not at all, so that its maps have one origin. The source is only read.

| found | answer |
|---|---|
| EXIF rotation; palette, grey, 16-bit, CMYK, alpha; ICC profile | repaired: upright, 8-bit sRGB, on white |
| ICC profile that does not fit the picture | repaired: dropped |
| another format than the file's ending says | repaired: read as what it is |
| spaces, line breaks, any letters or bytes in a name | accepted; the key is of the content, the name in the manifest |
| near-duplicates | accepted, all in one split |
| the same picture again, byte for byte | refused; that with the most files is taken, with any one's split |
| 0 bytes; more than 256 MiB; no permission; link to nowhere or to itself; device or pipe | refused |
| not a picture whatever its name; header or data cut off or damaged, unless a progressive JPEG has its end | refused |
| more than 100 megapixels (decompression bomb); a side of less than 16 pixels | refused |
| colours of 16 bits that fill the lower ones only | refused |
| animated, several pages; image of floating point, of more than 16 bits, or of 16 measured bits | refused |
| a single colour (image, depth, soft edges, normals) | refused |
| two images, or two maps of a kind, for one name | refused, all files of that name |
| map of another shape (width / height, 2 %) than its image, or refused for a reason here | refused, with its image |
| map of another size but the same shape | accepted |
| map of the stored pixels of an image with an EXIF orientation | turned, if the shapes settle it or it is declared |
| depth of 16 bits, floating point, colour or of low values; ids of which 255 may be void | refused, unless declared |
| soft edges of low values only, such as 0 and 1 | refused |
| normals in BGR order, with z in red | refused; of eight maps or more, the whole source, unless declared |
| class masks in alpha of several colours; ids in grey of fewer than 8 bits in some files only | the whole source |
| class maps with one colour in their palette for two ids | the whole source, unless `kind` is declared |
| what is declared of the classes or the colour map does not fit the map | refused, or the whole source |
| maps with colours of 16 bits, of which Pillow reads 8 | refused; soft edges and normals are read |
| missing readings, void | filled from beside them and counted; refused above a share |
| class map saved as JPEG or lossy WebP, anti-aliased, or a photograph | refused |
| map without its image; canny or outpaint map (stage `annotate` makes them) | refused; the image is not concerned |
| two folders with pictures of the same names, such as `A/` and `B/` | the whole source, unless `folders` is declared |
| of more than two, one grey or of few colours, named like one in colour | refused, unless `folders` is declared |
| most `0_B` grey or of few colours, beside `0_A` in one folder | refused |
| most `0_class_id` grey or of few colours, beside `0.jpg` or `0_rgb.jpg` in any folder | refused |
| `0_mask_1` of few colours, or grey beside `0` in colour | refused, with `0` if that has a mask |
| folder, or names with a part in common, all of few colours or grey of 16 bits, others not | refused |
| the same, grey and called `groundtruth_depth`, or in colour: `0.normal_cam` beside `0.tonemap` | refused |
| other pictures that are grey or of few colours, without captions, where some are in colour | accepted, noted |
| most that are twice as wide as high have halves of one view, as those of pix2pix | refused, unless with captions |
| fewer than three such pictures | accepted; noted where `0_class_id` is beside `0` in colour in one folder |
| map of another kind, such as `p0_pose.png` | refused; the image is not concerned |
| ControlNet's source/, a column conditioning_image | the whole source, unless `condition` is declared |
| folders train/, val/, test/; `--splits` | kept; near-duplicates across them are noted |
| text file of several lines | one caption, noted |
| caption without its image; empty, numbers only, not UTF-8, or a second one; in a folder of maps | refused |
| metadata file not in its form; a row that names no image or has no text, or a second one | refused, not other rows |
| a map that a table names outside of the source | refused, with its image |
| a table with a column twice, an unknown split, or a map that is not a path | the whole source |
| maps.yaml or splits.csv that cannot be read; instruct-pix2pix: seeds.json not in its form | the whole source |
| maps.yaml or splits.csv in another spelling, such as `maps.yml`, or not at the top | refused |
| maps.yaml or splits.csv where --maps or --splits names another file | left out |
| instruct-pix2pix: no caption in prompt.json; not in seeds.json | refused |
| link to a folder; hidden file or folder; one of the system, such as `@eaDir` | refused, not followed |
| folder named like a picture | refused; its files are read |
| any other file | refused |
"""

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from usd import config
from usd.config.data import LARGEST_SIDE
from usd.config.values import Layout
from usd.data.record import MANIFEST, SPLITS, field_path, write_manifest
from usd.errors import UsdError
from usd.files import atomic_directory, path_text
from usd.ingestion.checking import SERIAL, Checked, SampleCheck, check
from usd.ingestion.findings import REPORT, Finding, as_csv, noted, reasons, refused
from usd.ingestion.halves import without_doubles
from usd.ingestion.maplike import without_maplike
from usd.ingestion.meanings import Maps, read_maps
from usd.ingestion.normals import check_order
from usd.ingestion.numbered import without_numbered
from usd.ingestion.scan import MAPS_FILE, SPLITS_FILE
from usd.ingestion.sources import LAYOUTS
from usd.ingestion.splits import assign, families, given_splits, read_splits
from usd.ingestion.survey import settle_classes
from usd.ingestion.suspects import without_suspects
from usd.ingestion.words import one_path
from usd.parallel import parallel_map

STEP = 8  # pixels; the networks halve a picture three times
SIEVES = (without_doubles, without_numbered, without_suspects, without_maplike)
KEY = 16  # hex digits of a key: two of a million pictures share one once in 40 000 datasets
MADE = re.compile(rf"{MANIFEST}|{REPORT}|({'|'.join(SPLITS)})(/\1-[0-9a-f]{{{KEY}}}\.\w+\.png)?")  # in a dataset


@dataclass(frozen=True)
class Options:
    """How a source is read: `usd ingest --help`."""

    layout: Layout | None = None  # None: ingest.layout of params.yaml
    size: int | None = None  # pixels a side; None: render.image_size
    seed: int | None = None  # of the splits; None: ingest.seed
    maps: Path | None = None  # what the values of maps mean; None: maps.yaml in the source, if it is there
    splits: Path | None = None  # file_name,split; None: splits.csv in the source, if it is there


def ingest(source: Path, out: Path, options: Options | None = None) -> list[Finding]:
    """Make the folder dataset `out` of the pictures in `source`; returns what became of every file, by name.

    Raises:
        UsdError: nothing can be used, the meaning of the maps cannot be known, or a path or an option will not do.
    """
    options = options or Options()
    layout, size, seed = _settled(options)
    _check_arguments(source, out, options, size)
    maps = read_maps(options.maps or _beside(source, MAPS_FILE))
    splits = read_splits(options.splits or _beside(source, SPLITS_FILE))
    scan = LAYOUTS[layout](source, maps)
    scan.findings = _named(source, options, scan.findings)
    maps = settle_classes(source, scan.samples, maps)
    with atomic_directory(out) as scratch:
        incoming = scratch / "incoming"
        incoming.mkdir()
        jobs = [SampleCheck(number, sample, source, incoming, size, maps) for number, sample in enumerate(scan.samples)]
        found = parallel_map(check, jobs, "ingest", len(jobs), serial_below=SERIAL)
        checked, suspects = list(found), list[Finding]()
        if maps.normal is None:
            check_order(source, [each.bgr for each in checked if each.bgr is not None])
        for sieve in SIEVES:
            checked, left_out = sieve(checked, maps.folders)
            suspects += left_out
        sound = [each for each in checked if each.row]
        taken, twice = _once(sound)
        left = [finding for each in checked if not each.row for finding in each.findings]
        if not taken:
            counts = reasons(scan.findings + left + suspects)
            why = ", ".join(f"{reason} ({count})" for reason, count in counts.most_common(3))
            raise UsdError(f"{source}: no picture there that can be used; {why or 'the folder is empty'}")
        findings = scan.findings + left + suspects + twice
        refusals = {one_path(each.file) for each in findings if each.status == "refused"}
        given, notes = given_splits(taken + sound, splits, refusals, options.splits or Path(SPLITS_FILE))
        findings += notes + _store(taken, scratch, seed, given) + _decisions(taken, maps)
        findings.sort(key=lambda each: each.file)
        for waiting in incoming.iterdir():  # of exact duplicates
            waiting.unlink()
        incoming.rmdir()
        (scratch / REPORT).write_text(as_csv(findings), encoding="utf-8")
    return findings


def _named(source: Path, options: Options, findings: list[Finding]) -> list[Finding]:
    """The findings, true also of the files that options name, and of those that are not read because of these."""
    for name, given in ((MAPS_FILE, options.maps), (SPLITS_FILE, options.splits)):
        if given is not None:
            read = path_text(Path(os.path.relpath(given.resolve(), source.resolve())))
            other = f"left out: --{Path(name).stem} names another file"
            findings = [replace(each, detail=other) if each.file == name else each for each in findings]
            findings = [Finding(read, "accepted") if each.file == read else each for each in findings]
    return findings


def _once(sound: list[Checked]) -> tuple[list[Checked], list[Finding]]:
    """The samples without those whose image is another's byte for byte, and the findings on these.

    Of equal images the one with the most files stays, the first of these by name.
    """
    same: dict[str, list[Checked]] = defaultdict(list)
    for each in sound:
        same[each.content].append(each)
    findings: list[Finding] = []
    left: set[int] = set()
    for group in same.values():
        best = max(group, key=lambda each: (len(each.job.sample.files), each.job.sample.captioned))
        why = f"the same picture as {path_text(best.job.sample.files['image'])}, byte for byte"
        for each in group:
            if each is not best:
                left.add(id(each))
                for field, file in each.job.sample.files.items():
                    findings.append(refused(file, why if field == "image" else f"its image is {why}"))
    return [each for each in sound if id(each) not in left], findings


def _store(taken: list[Checked], scratch: Path, seed: int, given: dict[str, str]) -> list[Finding]:
    """Give the samples their splits and keys, move their pictures there and write the manifest."""
    for split in SPLITS:
        (scratch / split).mkdir()
    family = families([each.looks for each in taken], [each.job.sample.group for each in taken])
    chosen, notes = assign(family, [each.content for each in taken], seed, [given.get(each.content) for each in taken])
    rows: list[dict[str, object]] = []
    findings = [noted(note) for note in notes]
    for each, split in zip(taken, chosen, strict=True):
        key, sample = f"{split}-{each.content[:KEY]}", each.job.sample
        for field in sample.files:
            each.job.path(field).replace(field_path(scratch, key, field))
        row = {"key": key, "split": split, "seed": seed, "caption": sample.caption}
        rows.append(row | {"source": path_text(sample.files["image"]), "source_sha256": each.content} | each.row)
        findings += [replace(finding, key=key) for finding in each.findings]
    write_manifest(rows, scratch)
    counts = Counter(chosen)
    shown = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    findings.append(noted(f"splits: {shown}; {len(given)} given, the others drawn"))
    return findings


def _decisions(taken: list[Checked], maps: Maps) -> list[Finding]:
    """What the values of each kind of map were taken to mean."""
    counts = Counter(field for each in taken for field in each.job.sample.files if field != "image")
    notes = [f"{count} {field} maps read as {maps.describe(field)}" for field, count in counts.items()]
    if maps.orientation:
        notes.append(f"maps of turned photographs: {maps.orientation} (declared)")
    return [noted(note) for note in notes]


def _beside(source: Path, name: str) -> Path | None:
    """A file of options in the source."""
    return source / name if os.path.lexists(source / name) else None


def _settled(options: Options) -> tuple[Layout, int, int]:
    """Layout, pixels a side and seed of the splits: as asked for, else as the project's parameters say."""
    layout, size, seed = options.layout, options.size, options.seed
    if layout is None or size is None or seed is None:
        if not config.PARAMS.is_file():
            raise UsdError(f"{config.PARAMS}: not found; run from the project's root, or say --layout, --size, --seed")
        params = config.load()
        layout = params.ingest.layout if layout is None else layout
        size = params.render.image_size if size is None else size
        seed = params.ingest.seed if seed is None else seed
    return layout, size, seed


def _check_arguments(source: Path, out: Path, options: Options, size: int) -> None:
    """Refuse what would read nothing, overwrite the source or something else, or not fit the networks."""
    if not source.is_dir():
        raise UsdError(f"{source}: not a folder; `usd ingest` takes a folder of pictures")
    if not 2 * STEP <= size <= LARGEST_SIDE or size % STEP:
        raise UsdError(f"--size {size}: must be a multiple of {STEP}, from {2 * STEP} to {LARGEST_SIDE}")
    if out.is_symlink() and not out.exists():
        raise UsdError(f"{out}: a link that leads nowhere; choose another folder for --out")
    inner, outer = source.resolve(), out.resolve()
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise UsdError(f"{out}: overlaps with {source}, which is only read; choose another folder for --out")
    ours = all((out / name).is_file() for name in (MANIFEST, REPORT))
    if out.exists() and not ours and not (out.is_dir() and not any(out.iterdir())):
        raise UsdError(
            f"{out}: exists and is not a dataset of `usd ingest`, so it is kept; choose another folder for --out"
        )
    inside = (path for path in out.rglob("*") if not path.name.startswith("."))  # hidden files are the system's
    strange = (path for path in inside if not MADE.fullmatch(path.relative_to(out).as_posix()))
    if first := min(strange, default=None):
        raise UsdError(f"{first}: not made by `usd ingest`, which replaces {out}; move it elsewhere")

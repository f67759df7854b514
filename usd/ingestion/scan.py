"""The files of a source, and the samples and findings that come of them."""

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from usd.files import path_text
from usd.ingestion.captions import one_line
from usd.ingestion.findings import ALONE, Finding, noted, refused
from usd.ingestion.names import place_of
from usd.ingestion.pictures import SUFFIXES, Refused, read_source
from usd.ingestion.raw import ARRAY
from usd.ingestion.words import FOREIGN, USUAL, Words, as_key, folder_word, map_folder, one_form
from usd.tasks import FIELDS

MAPS_FILE, SPLITS_FILE = "maps.yaml", "splits.csv"  # beside the pictures: --maps and --splits
OPTIONS = {MAPS_FILE: MAPS_FILE, "maps.yml": MAPS_FILE, SPLITS_FILE: SPLITS_FILE}  # as they may be spelt
CONVERT = (".heic", ".heif", ".avif", ".jfif", ".jxl", ".jp2", ".ppm", ".pgm", ".dng", ".cr2", ".nef", ".arw", ".psd")
LAYOUT_REMEDY = "if this is InstructPix2Pix's layout, say --layout instruct-pix2pix"
REMEDIES = {  # ending → what to do with a file that holds what is looked for in another form
    **dict.fromkeys(CONVERT, "convert it to JPEG or PNG"),
    ".parquet": "save its pictures as files, and its texts as metadata.jsonl",
    ".caption": "call it .txt",
    **dict.fromkeys((".tar", ".zip", ".gz", ".tgz", ".7z"), "unpack it"),
}
# Folders of deleted pictures and of thumbnails, in lower case.
SYSTEM = ("@eadir", "#recycle", "$recycle.bin", "system volume information", "__macosx", "lost+found")
FIRST_WORD = re.compile(r"(?<![^/])[^\W\d_]+[._ -]?(?=[^/]+$)")  # of a name, after its folders
UNUSED = {  # what a file claims to be → why it is not used; stage `annotate` makes the first two of the image
    "canny": "a canny map is made from the image",
    "outpaint": "an outpaint map is made from the image",
    FOREIGN: "a map of another kind than depth, hed, seg or normal, and not used; if it is one of these, ",
}

Claims = dict[str, dict[str, list[Path]]]  # name → field → the files that claim to be it
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Sample:
    """An image of the source and what belongs to it."""

    files: dict[str, Path]  # `image` first, then its maps: field → path in the source
    caption: str
    group: str  # samples of one group stay in one split
    split: str | None = None  # the source's own
    captioned: bool = True  # False: the caption is made of its name


@dataclass
class Scan:
    """What a folder holds: samples, and the findings on every file that is in none."""

    samples: list[Sample] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def walk(root: Path, scan: Scan) -> list[Path]:
    """All files below `root`, relative to it, by name; hidden ones, the system's and links to folders are findings."""
    files: list[Path] = []

    def unreadable(error: OSError) -> None:
        scan.findings.append(refused(Path(os.path.relpath(error.filename, root)), f"not readable: {error.strerror}"))

    for here, folders, names in os.walk(root, onerror=unreadable):
        for name in folders:
            path = Path(here, name)
            if path.is_symlink():
                scan.findings.append(refused(path.relative_to(root), "a link to a folder is not followed"))
            elif name.startswith("."):
                scan.findings.append(refused(path.relative_to(root), "a hidden folder is not read"))
            elif name.lower() in SYSTEM:
                scan.findings.append(refused(path.relative_to(root), "a folder of the system is not read"))
            elif path.suffix.lower() in SUFFIXES:
                scan.findings.append(refused(path.relative_to(root), "a folder, not a picture; its files are read"))
        folders[:] = [name for name in folders if not name.startswith(".") and name.lower() not in SYSTEM]
        for name in names:
            path = Path(here, name).relative_to(root)
            if name.startswith("."):
                scan.findings.append(refused(path, "a hidden file"))
            elif path.as_posix() in (MAPS_FILE, SPLITS_FILE):
                scan.findings.append(Finding(path_text(path), "accepted"))
            elif name.lower() in OPTIONS:
                own = OPTIONS[name.lower()]
                why = f"not read by itself: call it {own}, at the top of the folder, or name it with --{Path(own).stem}"
                scan.findings.append(refused(path, why))
            else:
                files.append(path)
    return sorted(files)


def unusable(file: Path) -> Finding:
    """A file that nothing reads, and what to do with it."""
    suffix = file.suffix.lower()
    remedy = f"; {suffix} is not read: {REMEDIES[suffix]}" if suffix in REMEDIES else ""
    if suffix == ARRAY:
        remedy = "; if it is a map, let its name say which, such as a.depth.npy beside a.jpg"
    if file.name == "seeds.json":
        remedy = f"; {LAYOUT_REMEDY}"
    return refused(file, f"not a picture, map, metadata file, or an image's only caption{remedy}")


def assemble(claims: Claims, scan: Scan, words: Words | None = None) -> dict[str, dict[str, Path]]:
    """Name → field → file of the samples that are unambiguous, by name; the other files are findings.

    `words` are the source's own for its folders, None in a layout that does not go by these.
    """
    samples: dict[str, dict[str, Path]] = {}
    images = {name: fields["image"][0] for name, fields in claims.items() if "image" in fields}
    alike = _alike(images)
    for name, fields in sorted(claims.items()):
        mapped = images.keys() & {name, FIRST_WORD.sub("", name)}  # of these they are maps, whatever their folder is
        for place in UNUSED:
            for file in fields.pop(place, []):
                reason = _unused(file, place, words or USUAL)
                scan.findings.append(refused(file, reason + ("" if mapped else _remedy(file, words))))
        files = [file for each in fields.values() for file in each]
        if twice := next((place for place in ("image", *fields) if len(fields.get(place, ())) > 1), None):
            reason = _twice(fields[twice], twice, name, words or USUAL)
            scan.findings += [refused(file, reason) for file in files]
        elif "image" not in fields:
            others = {other: images[other] for other in alike.get(name.rpartition("/")[2].lower(), [])[:3]}
            for file in files:
                reason = _without_image(file, name, others, words)
                scan.findings.append(refused(file, reason + ("" if mapped else _remedy(file, words))))
        else:
            samples[name] = {place: fields[place][0] for place in FIELDS if place in fields}
    scan.findings += _lonely(claims)
    return samples


def _alike(images: Collection[str]) -> dict[str, list[str]]:
    """The names of images by their last parts."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in images:
        found[name.rpartition("/")[2].lower()].append(name)
    return found


def _lonely(claims: Claims) -> Iterator[Finding]:
    """A note on each kind of map most of which have no image."""
    counts, alone = Counter[str](), Counter[str]()
    for fields in claims.values():
        for place in fields.keys() - {"image"}:
            counts[place] += len(fields[place])
            alone[place] += 0 if "image" in fields else len(fields[place])
    for place, count in sorted(counts.items()):
        if alone[place] * 2 > count:
            yield noted(f"{alone[place]} of {count} {place} maps have no image, and are not used")


def _unused(file: Path, place: str, words: Words) -> str:
    """Why a map is not used, and what to do if it is one of another kind."""
    folder = map_folder(file, words)
    if place != FOREIGN:
        return UNUSED[place]
    if folder is None or folder_word(folder, words) != FOREIGN:
        return f"{UNUSED[place]}give it its ending"
    return f"{UNUSED[place]}say which in maps.yaml: `folders: {{{as_key(folder)}: …}}`"


def _twice(files: list[Path], field: str, name: str, words: Words) -> str:
    """That several files claim to be one field of the sample `name`, what tells them apart, and what to do."""
    claim, remedy = f"{len(files)} files claim to be one {field}", "keep one, and move the others out of the source"
    folders = [f"{path_text(Path(folder))}/" for file in files if (folder := map_folder(file, words))]
    if field == "image":
        remedy = "give them different names, or keep one"
        folders = [f"{path_text(file.parent)}/" for file in files]
    elif len(set(folders)) == len(files):
        inner = map_folder(max(files, key=lambda file: len(file.parts)), words)  # of masks/ and masks/other/
        remedy = f"leave out all but one in maps.yaml, as `folders: {{{as_key(inner or '')}: none}}` does"
    told = folders
    if len(set(folders)) < len(files):
        told = [one_form(file.name).replace(name.rpartition("/")[2], "*", 1) for file in files]
        told = [path_text(Path(each)) for each in told] if len(set(told)) == len(told) else list(map(path_text, files))
        if field == "image":
            remedy = f"if one is a map, call it such as *.depth.png; if both are pictures, {remedy}"
    return f"{claim}, {' and '.join(told)}; {remedy}"


def _without_image(file: Path, name: str, others: dict[str, Path], words: Words | None) -> str:
    """That a map has no image, what it would be the map of, and where to put it beside the image of its file name.

    Args:
        file: the map.
        name: of the sample that it would be in.
        others: the names and files of images whose names end alike.
        words: the source's own for folders.
    """
    if not others or words is None:
        return f"{ALONE}: no picture is called {name}"
    places = {image: place for other, image in others.items() if (place := _place_for(file, other, words))}
    images = " or ".join(path_text(image) for image in list(places)[:2]) + (" or …" if len(places) > 2 else "")
    remedy = f"; if it is that of {images}, move it to {' or '.join(list(places.values())[:2])}" if places else ""
    return f"{ALONE}: no picture is called {name}{remedy}"


def _place_for(file: Path, image: str, words: Words) -> str:
    """The folder in which a file is the map of an image; nothing if there is none."""
    folder, around = map_folder(file, words), Path(image).parent
    places = [around]
    if folder is not None:
        parts = file.parent.parts
        above = Path(*parts[: len(parts) - 1 - parts[::-1].index(folder)])
        inside = [above / folder / around.relative_to(above)] if around.is_relative_to(above) else []
        places = [*inside, Path(folder, around)]
    found = (each for each in places if place_of(each / file.name, words).name.lower() == image.lower())
    return next((f"{path_text(each)}/" for each in found), "")


def _remedy(file: Path, words: Words | None) -> str:
    """How to say that what its name or its folder calls a map is a picture."""
    if words is None or file.suffix.lower() not in SUFFIXES:
        return ""
    if (folder := map_folder(file, words)) is None:
        return "; if it is a picture, rename it, or list it in metadata.csv beside it: file_name,text"
    shown = path_text(Path(folder))
    return f"; if {shown}/ holds pictures, say so in maps.yaml: `folders: {{{as_key(folder)}: image}}`"


def read_text(root: Path, file: Path, scan: Scan, parse: Callable[[str], Parsed]) -> Parsed | None:
    """A text file parsed, and a finding on it; None if it cannot be used."""
    try:
        found = parse(read_source(root / file).decode("utf-8-sig"))
    except Refused as error:
        reason = str(error)
    except UnicodeDecodeError:
        reason = "not UTF-8; save it as UTF-8"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        reason = f"not in its form: {one_line(repr(error))}"
    else:
        scan.findings.append(Finding(path_text(file), "accepted"))
        return found
    scan.findings.append(refused(file, reason))
    return None

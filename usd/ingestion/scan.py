"""The files of a source, and the samples and findings that come of them."""

import csv
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from usd.files import path_text
from usd.ingestion.captions import one_line
from usd.ingestion.findings import Finding, refused
from usd.ingestion.names import FOREIGN, Words, map_folder, one_form
from usd.ingestion.pictures import SUFFIXES, Refused, read_source
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
    FOREIGN: "a map of another kind than depth, hed, seg or normal, and not used; if it is one of these, give it its "
    "ending",
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
    if file.name == "seeds.json":
        remedy = f"; {LAYOUT_REMEDY}"
    return refused(file, f"not a picture, map, metadata file, or an image's only caption{remedy}")


def assemble(claims: Claims, scan: Scan, words: Words | None = None) -> dict[str, dict[str, Path]]:
    """Name → field → file of the samples that are unambiguous, by name; the other files are findings.

    `words` are the source's own for its folders, None in a layout that does not go by these.
    """
    samples: dict[str, dict[str, Path]] = {}
    images = {name for name, fields in claims.items() if "image" in fields}
    for name, fields in sorted(claims.items()):
        mapped = images & {name, FIRST_WORD.sub("", name)}  # of these they are maps, whatever their folder is called
        left = [(file, reason) for place, reason in UNUSED.items() for file in fields.pop(place, [])]
        twice = next((place for place, files in fields.items() if len(files) > 1), None)
        if twice or "image" not in fields:
            reason = _twice(fields[twice], twice, name, words or {}) if twice else "a map without its image"
            left += [(file, reason) for files in fields.values() for file in files]
        elif fields:
            samples[name] = {place: fields[place][0] for place in FIELDS if place in fields}
        settled = bool(mapped) or twice
        scan.findings += [refused(file, reason if settled else reason + _remedy(file, words)) for file, reason in left]
    return samples


def _twice(files: list[Path], field: str, name: str, words: Words) -> str:
    """That several files claim to be one field of the sample `name`, what tells them apart, and what to do."""
    claim = f"{len(files)} files claim to be one {field}"
    if field == "image":
        return f"{claim}; give them different names"
    folders = [folder for file in files if (folder := map_folder(file, words))]
    if len(set(folders)) == len(files):
        told = folders
        remedy = f"leave out all but one in maps.yaml, as `folders: {{{path_text(Path(folders[0]))}: none}}` does"
    else:
        told = [one_form(file.name).replace(name.rpartition("/")[2], "*", 1) for file in files]
        told = told if len(set(told)) == len(told) else [path_text(file) for file in files]
        remedy = "keep one, and move the others out of the source"
    return f"{claim}, {' and '.join(path_text(Path(each)) for each in told)}; {remedy}"


def _remedy(file: Path, words: Words | None) -> str:
    """How to say that what its name or its folder calls a map is a picture."""
    if words is None or file.suffix.lower() not in SUFFIXES:
        return ""
    if (folder := map_folder(file, words)) is None:
        return "; if it is a picture, rename it, or list it in metadata.csv beside it: file_name,text"
    shown = path_text(Path(folder))
    return f"; if {shown}/ holds pictures, say so in maps.yaml: `folders: {{{shown}: image}}`"


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

"""Where own data come from: which files of a folder make a sample, in either layout. No picture is opened here.

folder: `name.jpg`, its maps `name.depth.png` or `depth/name.png`, its caption `name.txt` or a row of `metadata.jsonl`
or `metadata.csv` with `file_name` and `text`; else the file name makes the caption. A folder `images` is optional.

instruct-pix2pix: `<prompt>/<seed>_0.jpg` and `<seed>_1.jpg`, their maps `<seed>_0_depth.png`, the captions in
`<prompt>/prompt.json`; `seeds.json`, if it is there, lists what belongs to the dataset.
"""

import csv
import os
import re
from collections.abc import Callable, KeysView
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from usd.ingestion.captions import from_csv, from_jsonl, from_name, from_prompt, from_seeds, from_text, one_line
from usd.ingestion.findings import Finding, name_of, refused
from usd.ingestion.pictures import SUFFIXES, Refused, read_file
from usd.tasks import MAPS

FROM_IMAGE = ("canny", "outpaint")  # stage `annotate` makes them of the image as it is in the record
TABLES = {"metadata.jsonl": from_jsonl, "metadata.csv": from_csv}
IMAGE_FOLDERS = ("image", "images")
PAIR = re.compile(r"(?P<seed>.+)_(?P<side>[01])(?:_(?P<map>[a-z]+))?")

Claims = dict[str, dict[str, list[Path]]]  # name → field → the files that claim to be it
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Sample:
    """An image of the source and what belongs to it."""

    files: dict[str, Path]  # `image` first, then its maps: field → path in the source
    caption: str
    group: str  # samples of one group stay in one split


@dataclass
class Scan:
    """What a folder holds: samples, and the findings on every file that is in none."""

    samples: list[Sample] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def folder(root: Path) -> Scan:
    """The samples of a folder of pictures and, if there are any, maps and captions."""
    scan, claims = Scan(), Claims()
    texts: dict[str, Path] = {}
    tables: list[Path] = []
    for file in _walk(root, scan):
        name, place = _place(file)
        if file.suffix.lower() in SUFFIXES:
            claims.setdefault(name, {}).setdefault(place, []).append(file)
        elif file.name in TABLES:
            tables.append(file)
        elif file.suffix.lower() == ".txt" and name not in texts:
            texts[name] = file
        else:
            scan.findings.append(refused(file, "not a picture, map, metadata file, or an image's only caption"))
    samples = _assemble(claims, scan)
    captions = _table_captions(root, tables, samples.keys(), scan)
    for name, file in texts.items():
        if name not in samples:
            scan.findings.append(refused(file, "a caption without its image"))
        elif text := _read(root, file, scan, from_text):
            captions[name] = text
    for name, files in samples.items():
        scan.samples.append(Sample(files, captions.get(name) or from_name(name.rpartition("/")[2]), name))
    return scan


def instruct_pix2pix(root: Path) -> Scan:
    """The samples of a dataset in InstructPix2Pix's layout; those of one prompt, before and after, are one group."""
    scan, claims = Scan(), Claims()
    prompts: dict[str, dict[str, str]] = {}
    listed: set[str] | None = None
    for file in _walk(root, scan):
        pair = PAIR.fullmatch(file.stem) if file.suffix.lower() in SUFFIXES else None
        if pair and (pair["map"] is None or pair["map"] in MAPS):
            name = (file.parent / f"{pair['seed']}_{pair['side']}").as_posix()
            claims.setdefault(name, {}).setdefault(pair["map"] or "image", []).append(file)
        elif file.name == "prompt.json":
            prompts[file.parent.as_posix()] = _read(root, file, scan, from_prompt) or {}
        elif file == Path("seeds.json"):
            listed = _read(root, file, scan, from_seeds)
        elif file.name == "metadata.jsonl":
            scan.findings.append(Finding(name_of(file), "accepted", "not needed"))
        else:
            scan.findings.append(refused(file, "not <seed>_0 or <seed>_1, a map of theirs, or prompt.json"))
    samples = _assemble(claims, scan)
    for name in sorted((listed or set()) - samples.keys()):
        scan.findings.append(refused(Path("seeds.json"), f"lists {one_line(name)}, which is no image of use"))
    for name, files in samples.items():
        prompt, side = name.rpartition("/")[0], name[-1]
        caption = prompts.get(prompt or ".", {}).get(side)
        if listed is not None and name not in listed:
            scan.findings += [refused(file, "not listed in seeds.json") for file in files.values()]
        elif caption is None:
            scan.findings += [refused(file, "no caption for it in a prompt.json") for file in files.values()]
        else:
            scan.samples.append(Sample(files, caption, prompt))
    return scan


LAYOUTS: dict[str, Callable[[Path], Scan]] = {"folder": folder, "instruct-pix2pix": instruct_pix2pix}


def _walk(root: Path, scan: Scan) -> list[Path]:
    """All files below `root`, relative to it, by name; hidden ones and links to folders are findings instead."""
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
            elif path.suffix.lower() in SUFFIXES:
                scan.findings.append(refused(path.relative_to(root), "a folder, not a picture; its files are read"))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(here, name).relative_to(root)
            if name.startswith("."):
                scan.findings.append(refused(path, "a hidden file"))
            else:
                files.append(path)
    return sorted(files)


def _place(file: Path) -> tuple[str, str]:
    """The sample's name and the field of a file: `a/depth/b.png` and `a/b.depth.png` are (`a/b`, `depth`)."""
    folders = list(file.parent.parts)
    stem, _, ending = file.stem.rpartition(".")
    if stem and ending in MAPS:
        return "/".join((*folders, stem)), ending
    for number, part in reversed(list(enumerate(folders))):
        if part in MAPS or part in IMAGE_FOLDERS:
            del folders[number]
            return "/".join((*folders, file.stem)), part if part in MAPS else "image"
    return "/".join((*folders, file.stem)), "image"


def _assemble(claims: Claims, scan: Scan) -> dict[str, dict[str, Path]]:
    """Name → field → file of the samples that are unambiguous, by name; the other files are findings."""
    samples: dict[str, dict[str, Path]] = {}
    for name, fields in sorted(claims.items()):
        for place in FROM_IMAGE:
            scan.findings += [refused(file, f"a {place} map is made from the image") for file in fields.pop(place, [])]
        twice = [place for place, files in fields.items() if len(files) > 1]
        if twice:
            why = f"{len(fields[twice[0]])} files claim to be one {twice[0]}; give them different names"
        elif "image" not in fields:
            why = "a map without its image"
        else:
            samples[name] = {place: fields[place][0] for place in ("image", *MAPS) if place in fields}
            continue
        scan.findings += [refused(file, why) for files in fields.values() for file in files]
    return samples


def _table_captions(root: Path, tables: list[Path], names: KeysView[str], scan: Scan) -> dict[str, str]:
    """Name → caption of the images that a table names; rows of no use are findings."""
    captions: dict[str, str] = {}
    for table in tables:
        for file_name, text in _read(root, table, scan, TABLES[table.name]) or []:
            name = _place(table.parent / file_name)[0]
            if name not in names:
                scan.findings.append(refused(table, f"names {one_line(file_name)}, which is no image of use"))
            elif not text:
                scan.findings.append(refused(table, f"has no text for {one_line(file_name)}"))
            else:
                captions[name] = text
    return captions


def _read(root: Path, file: Path, scan: Scan, parse: Callable[[str], Parsed]) -> Parsed | None:
    """A text file parsed, and a finding on it; None if it cannot be used."""
    try:
        found = parse(read_file(root / file).decode("utf-8-sig"))
    except Refused as error:
        reason = str(error)
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        reason = f"not in its form: {one_line(repr(error))}"
    else:
        scan.findings.append(Finding(name_of(file), "accepted"))
        return found
    scan.findings.append(refused(file, reason))
    return None

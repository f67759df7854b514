"""The captions of a folder's samples: text files beside them, and the texts of tables."""

import os
from collections import defaultdict
from pathlib import Path

from usd.files import path_text
from usd.ingestion.captions import from_lines, one_line
from usd.ingestion.checking import OUTSIDE, is_outside
from usd.ingestion.findings import noted, refused
from usd.ingestion.names import place_of, spellings, with_endings
from usd.ingestion.pictures import SUFFIXES
from usd.ingestion.raw import ARRAY, UNREAD
from usd.ingestion.scan import Scan, read_text, unusable
from usd.ingestion.tables import TABLES, Entry, count_of
from usd.ingestion.words import Words, map_folder, one_form

TABLE_NAMES = ("caption", "captions", "metadata", "prompts")  # text files that may be tables
PLACES = "not there, and paths are relative to the table's folder"
TABLE_REMEDY = "a table of captions is called metadata.csv, and has the columns file_name and text"


def text_files(
    root: Path, files: list[Path], samples: dict[str, dict[str, Path]], words: Words, scan: Scan
) -> dict[str, str]:
    """Name → caption of the samples that have a text file; files that cannot be used are findings."""
    captions: dict[str, str] = {}
    several: list[Path] = []
    spelling = with_endings((fields["image"], name) for name, fields in samples.items()) | spellings(samples)
    for file in files:
        suffix = file.suffix.lower()
        if suffix in (*SUFFIXES, ARRAY, *UNREAD) or file.name.lower() in TABLES:
            continue
        place = place_of(file, words)
        own, whole = (spelling.get(name.lower(), name) for name in (place.name, place.whole))
        name = own if own in samples and place.field == "image" else whole
        if suffix != ".txt":
            scan.findings.append(unusable(file))
        elif map_folder(file, words):
            scan.findings.append(refused(file, "not a caption: it is in a folder of maps"))
        elif name not in samples:
            remedy = f"; {TABLE_REMEDY}" if file.stem.lower() in TABLE_NAMES else ""
            scan.findings.append(refused(file, f"a caption without its image{remedy}"))
        elif name in captions:
            scan.findings.append(unusable(file))
        elif found := read_text(root, file, scan, from_lines):
            captions[name], lines = found
            several += [file] if lines > 1 else []
    if several:
        shown = f"{len(several)}, such as {path_text(several[0])}"
        scan.findings.append(
            noted(f"text files of several lines, which make one caption: {shown}; if not, keep one line")
        )
    return captions


def add_rows(
    captions: dict[str, str],
    entries: list[Entry],
    names: dict[Path, str],
    samples: dict[str, dict[str, Path]],
    files: list[Path],
    scan: Scan,
) -> None:
    """Add the captions of the tables; what of these cannot be used are findings."""
    late: dict[Path, list[str]] = {}
    there: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        there[one_form(file.name).lower()].append(file)
    for entry in entries:
        name, image = names[entry.image], one_line(entry.row.image)
        if name not in samples:
            called = there[one_form(entry.image.name).lower()]
            remedy = "" if entry.image in called else _where(entry, called)
            scan.findings.append(refused(entry.table, f"names {image}, which is not a usable image{remedy}"))
        elif entry.row.text:
            if captions.setdefault(name, entry.row.text) != entry.row.text:
                late.setdefault(entry.table, []).append(image)
        elif name not in captions:
            scan.findings.append(refused(entry.table, entry.row.fault or f"has no text for {image}"))
    for table, images in late.items():
        why = f"its text for {images[0]} is not used, as another caption came first; keep one{count_of(images)}"
        scan.findings.append(refused(table, why))


def _where(entry: Entry, called: list[Path]) -> str:
    """That a picture is not where a table says, or outside, and how to name it if one file is called so."""
    away = is_outside(entry.image)
    remedy = "; copy it there" if away else ""
    if len(called) == 1:
        own = Path(os.path.relpath(called[0], entry.table.parent))
        remedy = "; write " + path_text(own) + ("" if own == called[0] else f" for {path_text(called[0])}")
    return f": it is {OUTSIDE if away else PLACES}{remedy}"

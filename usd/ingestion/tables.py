"""Tables that pair pictures with captions and maps: metadata.jsonl, metadata.csv and ControlNet's prompt.json."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from usd.data.record import SPLITS
from usd.errors import UsdError
from usd.ingestion.captions import one_line
from usd.ingestion.findings import refused
from usd.ingestion.pictures import SUFFIXES
from usd.ingestion.raw import ARRAY, UNREAD
from usd.ingestion.scan import LAYOUT_REMEDY, Scan, read_text
from usd.ingestion.words import FOREIGN, SPLIT_WORDS, WORDS, one_form, spelt

IMAGE_COLUMNS = ("file_name", "filename", "image_file_name", "image", "target")
TEXT_COLUMNS = ("text", "caption", "prompt")
PATH_ENDINGS = ("_file_name", "_filename", "_image", "_path")
MAP_WORDS = {word for word, field in WORDS.items() if field not in ("image", FOREIGN)}
NO_TEXTS = ("nan", "null", "none", "n/a", "na")  # as programs write a text that is not there, in lower case
FORM = "not in its form: line"


@dataclass(frozen=True)
class Row:
    """A picture of a table, what it says of it, and the maps that belong to it."""

    image: str  # path beside the table; empty if the row cannot be read
    text: str = ""  # empty if there is none
    maps: tuple[tuple[str, str], ...] = ()  # field, path beside the table
    fault: str = ""  # why the row, or its text, cannot be used
    split: str | None = None


class Unclear(Exception):
    """A row says something of a split or a map that cannot be followed; without it, the picture would be misused."""


@dataclass(frozen=True)
class Entry:
    """A row of a table, with its paths from the source's root."""

    table: Path
    row: Row
    image: Path
    maps: list[tuple[str, Path]]


def read_tables(root: Path, files: list[Path], scan: Scan) -> list[Entry]:
    """The rows of all tables.

    Raises:
        UsdError: a table gives a split or a map that cannot be used.
    """
    there = {one_form(file.as_posix()): file for file in files}
    tops = [Path(os.path.abspath(root)), root.resolve()]

    def path(table: Path, text: str) -> Path:
        found = Path(os.path.normpath(table.parent / text.replace("\\", "/")))
        top = next((top for top in tops if found.is_relative_to(top)), None)
        found = found if top is None else found.relative_to(top)
        return there.get(one_form(found.as_posix()), found)

    entries = []
    for table in files:
        if parse := TABLES.get(table.name.lower()):
            try:
                rows = read_text(root, table, scan, parse) or []
            except Unclear as reason:
                raise UsdError(f"{root / table}: {reason}") from reason
            for row in rows:
                if row.image:
                    maps = [(field, path(table, text)) for field, text in row.maps]
                    entries.append(Entry(table, row, path(table, row.image), maps))
            faults = [row.fault for row in rows if not row.image]
            if faults and len(faults) == len(rows):
                scan.findings.pop()  # that the table is accepted
            if faults:
                scan.findings.append(refused(table, faults[0] + count_of(faults)))
    return entries


def count_of(found: list[str]) -> str:
    """How many there are, where only the first is named."""
    return f" ({len(found)} such rows)" if len(found) > 1 else ""


def from_jsonl(text: str) -> list[Row]:
    """The rows of `metadata.jsonl`, or of the JSON lines that ControlNet calls `prompt.json`."""
    with suppress(ValueError):
        if text.lstrip().startswith("[") and isinstance(json.loads(text), list):
            return [Row("", fault=f'{FORM} 1: a list; write one object a line, such as {{"file_name": "a.jpg"}}')]
    return [_of_json(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def from_csv(text: str) -> list[Row]:
    """The rows of `metadata.csv`."""
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        columns = [spelt(name.strip()) for name in table.fieldnames or ()]
        if not set(columns) & set(IMAGE_COLUMNS):
            return [Row("", fault=f"{FORM} 1: no column file_name; it must be such as file_name,text, with commas")]
        _check_once(columns, 1)
        for row in table:
            if None in row:
                why = 'more values than columns; put a text with commas in quotes: "a cat, asleep"'
                rows.append(Row("", fault=f"{FORM} {table.line_num}: {why}"))
            else:
                rows.append(_row(row, table.line_num))
    except csv.Error as error:
        rows.append(Row("", fault=f"{FORM} {table.line_num + 1}: {error}; correct its quotes"))
    return rows


TABLES: dict[str, Callable[[str], list[Row]]] = {
    "metadata.jsonl": from_jsonl,
    "metadata.csv": from_csv,
    "prompt.json": from_jsonl,
}


def _of_json(number: int, line: str) -> Row:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        _check_once([name for name, _ in pairs], number)
        return dict(pairs)

    try:
        found = json.loads(line, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        return Row("", fault=f'{FORM} {number}: {why}; each line is an object such as {{"file_name": "a.jpg"}}')
    if not isinstance(found, dict):
        return Row("", fault=f'{FORM} {number}: must be an object such as {{"file_name": "a.jpg", "text": "a cat"}}')
    _check_once([spelt(name.strip()) for name in found], number)
    return _row(found, number)


def _check_once(names: list[str], number: int) -> None:
    """Refuse a table that gives a column twice, however it is spelt."""
    if double := [name for name, count in Counter(names).items() if name and count > 1]:
        raise Unclear(f"line {number}: {one_line(double[0])[:40]} appears twice; keep one")


def _row(given: Mapping[str, object], number: int) -> Row:
    row = {spelt(name.strip()): value for name, value in given.items() if value}
    column = next((name for name in IMAGE_COLUMNS if name in row), None)
    if column is None:
        remedy = LAYOUT_REMEDY if {"input", "output"} <= row.keys() else "it must name the picture"
        return Row("", fault=f"{FORM} {number}: no {IMAGE_COLUMNS[0]}; {remedy}")
    maps: list[tuple[str, str]] = []
    for name, value in row.items():
        field = _field(name, value, number) if name != column else None
        if field not in (None, FOREIGN) and field in dict(maps):
            raise Unclear(f"line {number}: {name} is a second column for {field}; keep one")
        if field:
            maps.append((field, str(value)))
    split, image = _split(row.get("split"), number), str(row[column])
    if not all(map(_possible, (image, *(path for _, path in maps)))):
        return Row("", fault=f"{FORM} {number}: a path with characters that no file's name has; correct it")
    key = next((name for name in TEXT_COLUMNS if name in row), TEXT_COLUMNS[0])
    text = row.get(key, "")
    if not {spelt(name.strip()) for name in given} & {*TEXT_COLUMNS}:
        columns = ", ".join(TEXT_COLUMNS)
        return Row(image, "", tuple(maps), f"has no text for {one_line(image)}: no column {columns}", split)
    if not isinstance(text, str):
        fault = f"{FORM} {number}: {key} must be one text, found {one_line(str(text))[:40]}"
        return Row(image, "", tuple(maps), fault, split)
    text = "" if text.strip().lower() in NO_TEXTS else one_line(text)
    return Row(image, text, tuple(maps), split=split)


def _split(value: object, number: int) -> str | None:
    """The split that a row gives, as folders spell it: `test`, `validation`."""
    if not value:
        return None
    if (found := SPLIT_WORDS.get(str(value).strip().lower())) is None:
        raise Unclear(f"line {number}: {one_line(str(value))[:40]!r} is not a split; expected {', '.join(SPLITS)}")
    return found


def _field(column: str, value: object, number: int) -> str | None:
    """The map that a column names the files of: `depth`, `depth_file_name`, `conditioning_image`, `source`.

    A column such as `label` may hold the name or the number of a class as well, which is not a path.
    """
    word = "condition" if column == "source" else column
    ending = next((each for each in PATH_ENDINGS if word.endswith(each)), "")
    field = WORDS.get(word) or WORDS.get(word.removesuffix(ending))
    if field is None and _is_path(value) and MAP_WORDS & set(word.split("_")):
        raise Unclear(
            f"line {number}: column {column} names a file: if it is a map, give it a name such as depth_file_name"
        )
    if field in (None, "image"):
        return None
    if isinstance(value, str):
        return field if ending or _is_path(value) else None
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if field != FOREIGN and (ending or any(map(_is_path, parts))):
        raise Unclear(f"line {number}: {column} must be one path, found {one_line(str(value))[:40]}")
    return None


def _is_path(value: object) -> bool:
    """Whether it ends as the names of pictures and arrays do."""
    return isinstance(value, str) and PurePosixPath(value).suffix.lower() in (*SUFFIXES, ARRAY, *UNREAD)


def _possible(path: str) -> bool:
    """Whether a file may have this path."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False

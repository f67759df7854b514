"""Tables that pair pictures with captions and maps: metadata.jsonl, metadata.csv and ControlNet's prompt.json."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass

from usd.ingestion.captions import one_line
from usd.ingestion.names import FOREIGN, WORDS

IMAGE_COLUMNS = ("file_name", "image_file_name", "image", "target")
TEXT_COLUMNS = ("text", "caption", "prompt")
SUFFIXES = ("_file_name", "_image", "_path")


@dataclass(frozen=True)
class Row:
    """A picture of a table, what it says of it, and the maps that belong to it."""

    image: str  # path beside the table
    text: str  # empty if there is none
    maps: dict[str, str]  # field → path beside the table


def from_jsonl(text: str) -> list[Row]:
    """The rows of `metadata.jsonl`, or of the JSON lines that ControlNet calls `prompt.json`."""
    return [_row(json.loads(line)) for line in text.split("\n") if line.strip()]


def from_csv(text: str) -> list[Row]:
    """The rows of `metadata.csv`."""
    return [_row(row) for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)]


TABLES: dict[str, Callable[[str], list[Row]]] = {
    "metadata.jsonl": from_jsonl,
    "metadata.csv": from_csv,
    "prompt.json": from_jsonl,
}


def _row(row: dict[str, str | None]) -> Row:
    column = next((name for name in IMAGE_COLUMNS if row.get(name)), None)
    if column is None:
        raise KeyError(IMAGE_COLUMNS[0])
    text = next((str(row[name]) for name in TEXT_COLUMNS if row.get(name)), "")
    maps = {}
    for name, value in row.items():
        if name != column and value and (field := _field(name)) not in (None, "image", FOREIGN):
            maps[str(field)] = str(value)
    return Row(str(row[column]), one_line(text), maps)


def _field(column: str) -> str | None:
    """The map that a column names the files of: `depth`, `depth_file_name`, `conditioning_image`, `source`."""
    word = "condition" if column == "source" else column.lower()
    for suffix in ("", *SUFFIXES):
        if word.endswith(suffix) and (field := WORDS.get(word.removesuffix(suffix))):
            return field
    return None

"""Captions as people keep them: text files, tables, InstructPix2Pix's prompts, or nothing but the name of the picture.

On text that has not their form the parsers raise ValueError, KeyError, TypeError, AttributeError or csv.Error.
"""

import csv
import io
import json
import re

from usd.ingestion.pictures import Refused


def one_line(text: str) -> str:
    """The text without line breaks, control characters and spaces that say nothing."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def from_name(name: str) -> str:
    """The words of a file name without its ending."""
    return re.sub(r"[\W_]+", " ", name).strip() or "a picture"


def from_text(text: str) -> str:
    """The caption that a text file holds."""
    caption = one_line(text)
    if not caption:
        raise Refused("no text in it")
    return caption


def from_jsonl(text: str) -> list[tuple[str, str]]:
    """File name and caption of each line of `metadata.jsonl`; an empty caption is empty."""
    return _rows([json.loads(line) for line in text.split("\n") if line.strip()])


def from_csv(text: str) -> list[tuple[str, str]]:
    """File name and caption of each row of `metadata.csv`; an empty caption is empty."""
    return _rows(list(csv.DictReader(io.StringIO(text, newline=""), strict=True)))


def from_prompt(text: str) -> dict[str, str]:
    """The captions before ("0") and after ("1") the edit, of a `prompt.json`."""
    found = json.loads(text)
    return {"0": from_text(found.get("caption") or found["input"]), "1": from_text(found["output"])}


def from_seeds(text: str) -> set[str]:
    """The names `<prompt>/<seed>_<0 or 1>` of a `seeds.json`: [["<prompt>", ["<seed>", …]], …]."""
    return {f"{prompt}/{seed}_{side}" for prompt, seeds in json.loads(text) for seed in seeds for side in "01"}


def _rows(rows: list[dict[str, str | None]]) -> list[tuple[str, str]]:
    return [(str(row["file_name"]), one_line(str(row["text"] or ""))) for row in rows]

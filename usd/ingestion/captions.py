"""Captions as people keep them: text files, InstructPix2Pix's prompts, or nothing but the name of the picture.

On text that is not in their form the parsers raise ValueError, KeyError, TypeError or AttributeError, and `Refused` on
one that makes no caption.
"""

import json
import re
from unicodedata import category, normalize

from usd.ingestion.pictures import Refused

JOINERS = "\u200c\u200d"  # they join or part letters of Persian and Indic words, and the parts of an emoji

EXPONENT = re.compile(r"(?<=\d)[eE](?=[+-]?\d)")  # of a number such as 1e-05


def one_line(text: str) -> str:
    """The text without line breaks, control characters and idle spaces; joiners inside words stay."""
    kept = "".join(letter for letter in text if category(letter) != "Cf" or _joins(letter))
    return " ".join("".join(letter if letter.isprintable() or _joins(letter) else " " for letter in kept).split())


def from_name(name: str) -> str:
    """The words of a file name without its ending."""
    letters = (letter if _in_word(letter) else " " for letter in normalize("NFC", name))
    return " ".join("".join(letters).split()) or "a picture"


def from_text(text: str) -> str:
    """The caption that a text file holds."""
    caption = one_line(text)
    if not caption.strip(JOINERS):
        raise Refused("no text in it")
    if not any(category(letter)[0] == "L" or category(letter) == "So" for letter in EXPONENT.sub("", caption)):
        raise Refused("numbers only: a label file? a caption has words")
    return caption


def from_lines(text: str) -> tuple[str, int]:
    """The caption that a text file holds, and how many of its lines have text."""
    return from_text(text), sum(map(bool, map(str.strip, text.splitlines())))


def from_prompt(text: str) -> dict[str, str]:
    """The captions before ("0") and after ("1") the edit, of a `prompt.json`."""
    found = json.loads(text)
    return {"0": from_text(found.get("caption") or found["input"]), "1": from_text(found["output"])}


def from_seeds(text: str) -> set[str]:
    """The names `<prompt>/<seed>_<0 or 1>` of a `seeds.json`: [["<prompt>", ["<seed>", …]], …]."""
    return {f"{prompt}/{seed}_{side}" for prompt, seeds in json.loads(text) for seed in seeds for side in "01"}


def _joins(letter: str) -> bool:
    """Joiners, and the tags that spell the flags of regions."""
    return letter in JOINERS or 0xE0020 <= ord(letter) <= 0xE007F


def _in_word(letter: str) -> bool:
    """Letters and digits, with the marks and joiners that belong to them."""
    return category(letter)[0] in "LNM" or letter in JOINERS

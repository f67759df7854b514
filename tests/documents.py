"""The project's pages, their fenced blocks and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    """A fenced block. What follows the language, such as `python not run: needs a GPU`, is `remark`."""

    page: Path
    line: int
    language: str
    remark: str
    text: str

    def __str__(self) -> str:
        return f"{name(self.page)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^ *```(\w+) ?(.*)\n((?:.*\n)*?) *```$", text, re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2], dedent(match[3])))
    return [block for block in found if block.language in languages]


@dataclass(frozen=True)
class Command:
    """A simple command of a page: its words, without comments, variables in front and what it is piped into."""

    where: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.where} {shlex.join(self.words)}"[:80]


def _split(where: str, line: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= set("&|;"):
            words.append(word)
            continue
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words.pop(0)
        if words:
            yield Command(where, tuple(words))
        words = []


def commands() -> list[Command]:
    """All commands in sh blocks; a line that ends in a backslash goes on in the next."""
    found = []
    for block in blocks("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            found += _split(str(block), line)
    return found


def mentions() -> list[Command]:
    """Commands named in a sentence, such as `usd diff BASE [HEAD]`; their arguments may be placeholders."""
    found = []
    for page in PAGES:
        prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for match in re.finditer(r"`((?:usd|make|dvc|python -m|prefect) [^`]+)`", prose):
            found.append(Command(name(page), tuple(match[1].split())))
    return found

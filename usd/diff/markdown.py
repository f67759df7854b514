"""A review as Markdown for a comment on a pull request."""

import re

from usd.diff.layout import BAD, NONE, Review, Section, Table

LIMIT = 65_000  # characters; a comment on GitHub may have 65 536
MOST = (1000, 300, 100, 50, 20, 10, 5, 2, 1)  # rows of a table, until the text fits
CELL = 240  # characters of a cell
PICTURES = "The pictures are in the page that `usd diff --format html` writes."


def markdown(review: Review) -> str:
    """Below LIMIT characters; tables are cut where needed, and say so."""
    for most in MOST:
        text = _markdown(review, most)
        if len(text) <= LIMIT:
            break
    return text[:LIMIT]


def _markdown(review: Review, most: int) -> str:
    lines = [f"**{_escaped(review.headline)}**", ""]
    if review.changed and review.unchanged:
        lines += [f"Unchanged: {', '.join(review.unchanged)}.", ""]
    if review.regressions:
        lines += [f"**Regressions: {len(review.regressions)}**", ""]
        lines += [f"- {_escaped(_cut(each))}" for each in review.regressions[:most]]
        lines += [*_more(len(review.regressions), most, "- "), ""]
    for section in review.sections:
        lines += _section(section, most)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section, most: int) -> list[str]:
    lines = [f"### {section.title}: {section.summary}", ""]
    for note in section.notes:
        lines += [_escaped(note), ""]
    for table in section.tables:
        lines += _table(table, most)
    if section.pictures:
        listed = [f"- {_code(picture.title)} {picture.state}" for picture in section.pictures[:most]]
        listed += [*_more(len(section.pictures), most, "- "), "", PICTURES, ""]
        lines += _folded(f"{section.gallery}: {len(section.pictures)}", listed)
    return lines


def _table(table: Table, most: int) -> list[str]:
    body = [f"| {' | '.join(table.head)} |", "|" + "---|" * len(table.head)]
    body += [*(_row(table, row) for row in table.rows[:most]), ""]
    for line in _more(len(table.rows), most):
        body += [line, ""]
    if table.folded:
        return _folded(table.title, body)
    return [f"**{table.title}**", "", *body] if table.title else body


def _folded(title: str, body: list[str]) -> list[str]:
    return ["<details>", f"<summary>{title}</summary>", "", *body, "</details>", ""]


def _row(table: Table, row: list[str]) -> str:
    cells = [_code(cell) if number < table.code else _escaped(_cut(cell)) for number, cell in enumerate(row)]
    return f"| {' | '.join(f'**{cell}**' if cell in BAD else cell for cell in cells)} |"


def _code(cell: str) -> str:
    plain = _cut(" ".join(cell.split())).replace("`", "'").replace("|", "\\|")
    return plain if plain in ("", NONE) else f"`{plain}`"


def _escaped(text: str) -> str:
    plain = re.sub(r"([\\`*_\[\]<>|~#$])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<!\w)@(?=\w)", "@\u200b", plain)  # mentions nobody


def _cut(text: str) -> str:
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def _more(count: int, most: int, bullet: str = "") -> list[str]:
    return [f"{bullet}… and {count - most} more"] if count > most else []

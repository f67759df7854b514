"""The review of a change, ready to print."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from usd.diff.comparison import compare
from usd.diff.document import lay_out
from usd.diff.html import html
from usd.diff.markdown import markdown


@dataclass(frozen=True)
class Review:
    """What `usd diff` prints, and what it fails on if asked to."""

    text: str
    headline: str
    regressions: list[str]


def review(base: str, head: str, form: Literal["md", "html"], root: Path) -> Review:
    """Compare two revisions of the project in `root`.

    Raises:
        UsdError: an unknown revision, or a file that cannot be read.
    """
    document = lay_out(compare(base, head, root))
    render = {"md": markdown, "html": html}[form]
    return Review(render(document), document.headline, document.regressions)

"""The review of a change: every part of the project, compared between two revisions."""

import sys
from pathlib import Path
from typing import Literal

from usd.diff import data, figures, gate, metrics, parameters, stages, validation
from usd.diff.html import html
from usd.diff.layout import Part, Review
from usd.diff.markdown import markdown
from usd.diff.revision import Revision, find, find_base
from usd.errors import UsdError

PROJECT = ("dvc.yaml", "params.yaml")
PARTS = (  # in the order of the review; a new part is one file and one line here
    parameters.compare,
    data.compare,
    validation.compare,
    metrics.compare,
    gate.compare,
    figures.compare,
    stages.compare,
)


def review(base: str, head: str, root: Path, tip: bool = False, fetch: bool = False) -> Review:
    """Compare `head` with the commit where it left `base`, as a pull request is compared, or with `base` itself.

    Args:
        base: A revision that git knows.
        head: Another, or "workspace".
        root: The project's folder.
        tip: Compare with `base` as it is now, whatever `head` does not have of it yet.
        fetch: Get pictures of samples from the DVC remote if the cache lacks them.

    Raises:
        UsdError: an unknown revision, a file that cannot be read, or a remote that cannot be reached.
    """
    later = find(head, root, fetch)
    earlier = find(base, root, fetch) if tip else find_base(base, later, fetch)
    if not any(path in revision.blobs for revision in (earlier, later) for path in PROJECT):
        raise UsdError(f"{root}: neither revision has {' or '.join(PROJECT)}; run from the project's root")
    return assemble(earlier, later, [compare(earlier, later) for compare in PARTS])


def assemble(base: Revision, head: Revision, parts: list[Part]) -> Review:
    """The review of parts that are compared already."""
    summaries = {part.title.lower(): part.summary for part in parts}
    return Review(
        base=base.label,
        head=head.label,
        changed={title: summary for title, summary in summaries.items() if summary},
        unchanged=[title for title, summary in summaries.items() if not summary],
        regressions=[each for part in parts for each in part.regressions],
        sections=[section for part in parts if (section := part.section())],
    )


def text(found: Review, form: Literal["md", "html"]) -> str:
    """The review as Markdown for a comment, or as one page of HTML."""
    return markdown(found) if form == "md" else html(found)


def printable(page: str, form: Literal["md", "html"]) -> str:
    """The review for the terminal or a pipe: what its encoding lacks becomes character references in HTML."""
    encoding = sys.stdout.encoding
    return page if form == "md" else page.encode(encoding, "xmlcharrefreplace").decode(encoding)

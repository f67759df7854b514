"""What a part of the review shows, in terms that every format can print."""

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

NONE = "—"  # stands in a cell for a value that a revision does not have
# Verdicts that stand in a cell of their own, which every format marks.
BAD = frozenset({"worse", "newly fails", "still fails", "no longer checked", "gone", "moved far"})
GOOD = frozenset({"better", "fixed", "passes"})


def became(before: bool | None, after: bool) -> str:
    """What became of a check that passed or not, at two revisions; None if it was not made before."""
    if after:
        return "fixed" if before is False else "passes"
    return "still fails" if before is False else "newly fails"


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first `code` columns hold names out of files, which are shown as they are."""

    title: str
    head: list[str]
    rows: list[list[str]]
    code: int = 1
    folded: bool = False


@dataclass(frozen=True)
class PictureChange:
    """A PNG file before and after; None where a revision does not have it."""

    title: str
    before: bytes | None
    after: bytes | None

    @property
    def state(self) -> str:
        """One of: added, removed, changed."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"


@dataclass(frozen=True)
class Section:
    """What the review says about one part of the project."""

    title: str
    summary: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    gallery: str = ""  # title of the pictures
    pictures: list[PictureChange] = field(default_factory=list)


class Part(Protocol):
    """One part of the project, compared between two revisions: one file of this package, listed in `review.PARTS`."""

    title: ClassVar[str]

    @property
    def summary(self) -> str:
        """What changed, in a few words; empty if nothing did."""

    @property
    def regressions(self) -> list[str]:
        """What got worse, one sentence each."""

    def section(self) -> Section | None:
        """What to show; None if there is nothing to say."""


@dataclass(frozen=True)
class Review:
    """All that a reviewer is told; no dates, so that the same revisions give the same bytes."""

    base: str
    head: str
    changed: dict[str, str]  # part → what changed
    unchanged: list[str]
    regressions: list[str]
    sections: list[Section]

    @property
    def headline(self) -> str:
        """One line: no change, or what changed."""
        if not self.changed:
            return f"No change of data, parameters, metrics, figures or stages from {self.base} to {self.head}."
        words = "; ".join(f"{part}: {found}" for part, found in self.changed.items())
        return f"Changed from {self.base} to {self.head}: {words}."

"""Which expectations on the data newly fail, are fixed, or are no longer checked."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from usd.diff.layout import Section, Table, became
from usd.diff.revision import Revision
from usd.diff.summary import Expectation, Summary, read_summary

CHANGED = ("newly fails", "fixed", "no longer checked")  # the verdicts that the summary counts


@dataclass(frozen=True)
class ValidationPart:
    """The expectations at both revisions; one whose bound moved is the same expectation."""

    title: ClassVar[str] = "Validation"

    before: Summary | None
    after: Summary | None

    @cached_property
    def verdicts(self) -> list[tuple[str, str]]:
        """What became of each expectation, after its name; empty where the summary is gone."""
        if not self.after:
            return []
        before, after = self._checks()
        found = [
            (now.name, became(before[key].passed if key in before else None, now.passed)) for key, now in after.items()
        ]
        gone = (was for key, was in before.items() if key not in after)
        return found + [(was.name, "no longer checked" if was.passed else "fixed") for was in gone]

    @property
    def gone(self) -> bool:
        """Whether there was a summary and is none any more."""
        return self.before is not None and self.after is None

    @property
    def summary(self) -> str:
        """How many expectations newly fail, are fixed, or are no longer checked."""
        told = ", ".join(f"{len(found)} {word}" for word in CHANGED if (found := self._named(word)))
        return "summary gone" if self.gone else told

    @property
    def regressions(self) -> list[str]:
        """Expectations that newly fail or are no longer checked."""
        found = [f"validation newly fails: {name}" for name in self._named("newly fails")]
        found += ["the validation summary is gone"] if self.gone else []
        return found + [f"validation no longer checks: {name}" for name in self._named("no longer checked")]

    def section(self) -> Section | None:
        """A row for each expectation that fails, or whose verdict changed."""
        kinds = ("newly fails", "still fails"), ("fixed",), ("no longer checked",)
        rows = [[*each] for words in kinds for each in self.verdicts if each[1] in words]
        if not self.summary and not rows:
            return None
        notes = ["The summary is gone."] if self.gone else []
        tables = [Table("", ["expectation", "verdict"], rows, 0)] if rows else []
        return Section(self.title, self.summary or "failing as before", notes, tables)

    def _named(self, word: str) -> list[str]:
        """The names of the expectations with this verdict."""
        return [name for name, found in self.verdicts if found == word]

    def _checks(self) -> tuple[dict[str, Expectation], dict[str, Expectation]]:
        """The expectations of both revisions, by what is the same at both: ids, or names if one of them lacks ids."""
        both = [summary.expectations if summary else [] for summary in (self.before, self.after)]
        have_ids = all(each.id for side in both for each in side)
        before, after = ({each.id if have_ids else each.name: each for each in side} for side in both)
        return before, after


def compare(base: Revision, head: Revision) -> ValidationPart:
    """Compare the validation summaries of two revisions.

    Raises:
        UsdError: a summary cannot be read.
    """
    return ValidationPart(read_summary(base), read_summary(head))

"""Which expectations on the data newly fail, are fixed, or are no longer checked."""

from dataclasses import dataclass
from typing import ClassVar

from usd.diff.layout import Section, Table
from usd.diff.revision import Revision
from usd.diff.summary import Expectation, Summary, read_summary


@dataclass(frozen=True)
class ValidationPart:
    """The expectations at both revisions; one whose bound moved is the same expectation."""

    title: ClassVar[str] = "Validation"

    before: Summary | None
    after: Summary | None

    @property
    def failing(self) -> list[str]:
        """Names of the expectations that do not hold at the later revision."""
        return [each.name for each in self._checks()[1].values() if not each.passed]

    @property
    def newly_failing(self) -> list[str]:
        """Those that fail and did not fail before, or were not checked before."""
        before, after = self._checks()
        failed = {key: each for key, each in after.items() if not each.passed}
        return [each.name for key, each in failed.items() if key not in before or before[key].passed]

    @property
    def fixed(self) -> list[str]:
        """Those that failed and now hold, or are not checked any more."""
        before, after = self._checks()
        failed = {key: each for key, each in before.items() if not each.passed}
        return [each.name for key, each in failed.items() if self.after and (key not in after or after[key].passed)]

    @property
    def unchecked(self) -> list[str]:
        """Those that held and are not checked any more."""
        before, after = self._checks()
        held = {key: each for key, each in before.items() if each.passed}
        return [each.name for key, each in held.items() if self.after and key not in after]

    @property
    def gone(self) -> bool:
        """Whether there was a summary and is none any more."""
        return self.before is not None and self.after is None

    @property
    def summary(self) -> str:
        """How many expectations newly fail, are fixed, or are no longer checked."""
        counted = {
            "newly fails": len(self.newly_failing),
            "fixed": len(self.fixed),
            "no longer checked": len(self.unchecked),
        }
        return "summary gone" if self.gone else ", ".join(f"{n} {word}" for word, n in counted.items() if n)

    @property
    def regressions(self) -> list[str]:
        """Expectations that newly fail or are no longer checked."""
        found = [f"validation newly fails: {name}" for name in self.newly_failing]
        found += ["the validation summary is gone"] if self.gone else []
        return found + [f"validation no longer checks: {name}" for name in self.unchecked]

    def section(self) -> Section | None:
        """A row for each expectation that fails, or whose verdict changed."""
        if not self.summary and not self.failing:
            return None
        rows = [[name, "newly fails" if name in self.newly_failing else "still fails"] for name in self.failing]
        rows += [[name, "fixed"] for name in self.fixed]
        rows += [[name, "no longer checked"] for name in self.unchecked]
        notes = ["The summary is gone."] if self.gone else []
        tables = [Table("", ["expectation", "verdict"], rows, 0)] if rows else []
        return Section(self.title, self.summary or "failing as before", notes, tables)

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

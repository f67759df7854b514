"""Which parameters of params.yaml changed."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from usd.config import PARAMS
from usd.diff.layout import NONE, Section, Table
from usd.diff.revision import Revision

ABSENT = object()


@dataclass(frozen=True)
class ParameterChange:
    """A parameter by its dotted key; None where the revision does not have it."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ParametersPart:
    """The parameters that differ, sorted by key."""

    title: ClassVar[str] = "Parameters"

    changes: list[ParameterChange]

    @property
    def summary(self) -> str:
        """How many changed."""
        return f"{len(self.changes)} changed" if self.changes else ""

    @property
    def regressions(self) -> list[str]:
        """None: a parameter is neither better nor worse."""
        return []

    def section(self) -> Section | None:
        """A row for each parameter that changed."""
        if not self.changes:
            return None
        rows = [[change.key, change.before or NONE, change.after or NONE] for change in self.changes]
        return Section(self.title, self.summary, tables=[Table("", ["parameter", "before", "after"], rows, code=3)])


def compare(base: Revision, head: Revision) -> ParametersPart:
    """Compare params.yaml of two revisions."""
    before, after = (flatten(revision.yaml(str(PARAMS))) for revision in (base, head))
    found = [
        ParameterChange(key, _text(before.get(key, ABSENT)), _text(after.get(key, ABSENT)))
        for key in sorted(before.keys() | after.keys())
    ]
    return ParametersPart([each for each in found if each.before != each.after])  # as text: NaN is NaN, true is not 1


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key → value of the leaves; a list is one value."""
    if not isinstance(values, dict) or (prefix and not values):
        return {prefix: values}
    return {
        key: leaf
        for name, value in values.items()
        for key, leaf in flatten(value, f"{prefix}.{name}".strip(".")).items()
    }


def _text(value: Any) -> str | None:
    if value is ABSENT:
        return None
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except TypeError:  # a key that JSON does not have, such as a date
        return str(value)

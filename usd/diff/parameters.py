"""Which parameters of params.yaml changed."""

import json
from dataclasses import dataclass
from typing import Any

from usd.config import PARAMS
from usd.diff.revision import Revision

ABSENT = object()


@dataclass(frozen=True)
class Change:
    """A parameter by its dotted key; None where the revision does not have it."""

    key: str
    before: str | None
    after: str | None


def changed(base: Revision, head: Revision) -> list[Change]:
    """The parameters that differ, sorted by key."""
    before, after = (flatten(revision.yaml(str(PARAMS))) for revision in (base, head))
    return [
        Change(key, _text(before.get(key, ABSENT)), _text(after.get(key, ABSENT)))
        for key in sorted(before.keys() | after.keys())
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    ]


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
    return None if value is ABSENT else json.dumps(value, ensure_ascii=False, default=str)

"""Profiles: files of values that are written into params.yaml."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from usd.config.loading import FROM_ROOT, PARAMS, build, parse, read
from usd.config.sections import Params
from usd.errors import UsdError
from usd.files import atomic_write


def apply(profile: Path, params: Path = PARAMS) -> list[str]:
    """Write a profile's values into params.yaml, keeping its comments; returns what changed, a line each.

    Raises:
        UsdError: an unreadable file, an unknown key or a wrong value; nothing is written then.
    """
    wanted = _load(YAML(), profile, "profiles/ has the profiles that come with the project")
    if not isinstance(wanted, dict):
        raise UsdError(f"{profile}: not a mapping of sections of params.yaml")
    return change(wanted, params, str(profile))


def change(wanted: dict[str, Any], params: Path = PARAMS, where: str = "") -> list[str]:
    """Write values into params.yaml, keeping its comments; returns what changed, a line each.

    Args:
        wanted: The values by section and key.
        params: The file to change.
        where: What a complaint names; params.yaml if it is empty.
    """
    where = where or str(params)
    yaml = YAML()
    yaml.width = 120
    current = _load(yaml, params, FROM_ROOT)
    changes = list(_merge(current, wanted, where, ""))
    written = StringIO()
    yaml.dump(current, written)
    build(Params, parse(written.getvalue(), where), where)
    if changes:
        atomic_write(params, written.getvalue())
    return changes


def _merge(current: Any, wanted: dict[str, Any], where: str, prefix: str) -> Iterator[str]:
    for key, value in wanted.items():
        if key not in current:
            raise UsdError(f"{where}: {prefix}{key}: unknown key; params.yaml has {', '.join(map(str, current))}")
        if isinstance(value, dict) and isinstance(current[key], dict):
            yield from _merge(current[key], value, where, f"{prefix}{key}.")
        elif current[key] != value:
            yield f"{prefix}{key}: {current[key]} → {value}"
            current[key] = _on_one_line(value) if isinstance(value, list) else value


def _on_one_line(values: list[Any]) -> CommentedSeq:
    """The list as `[1, 2]`, as all lists in params.yaml are written."""
    found = CommentedSeq(values)
    found.fa.set_flow_style()
    return found


def _load(yaml: YAML, path: Path, remedy: str) -> Any:
    """The file's values as they are written: with comments, quotes and the form of numbers."""
    text = read(path, remedy)
    parse(text, str(path))  # complains if it is not valid
    yaml.preserve_quotes = True
    return yaml.load(text)

"""Profiles: files of values that are written into params.yaml."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.scalarbool import ScalarBoolean

from usd.config.loading import FROM_ROOT, PARAMS, build, parse_yaml
from usd.config.sections import Params
from usd.errors import UsdError
from usd.files import atomic_write, read_text

KINDS = ((bool, ScalarBoolean), int, float, str)  # True == 1 in Python; the second is a bool that had an anchor


def apply(profile: Path, params: Path = PARAMS) -> list[str]:
    """Write a profile's values into params.yaml, keeping its comments; returns what changed, a line each.

    Raises:
        UsdError: an unreadable file, an unknown key or a wrong value; nothing is written then.
    """
    return change([values_of(profile)], params, str(profile))


def values_of(profile: Path) -> dict[str, Any]:
    """A profile's values by section and key.

    Raises:
        UsdError: it cannot be read, or is not a mapping.
    """
    found: dict[str, Any] = _load(YAML(), profile, "profiles/ has the profiles that come with the project")
    return found


def change(wanted: list[dict[str, Any]], params: Path = PARAMS, where: str = "") -> list[str]:
    """Write values into params.yaml, keeping its comments; returns what changed, a line each.

    Args:
        wanted: Values by section and key, which are all written or none.
        params: The file to change.
        where: What a complaint names; params.yaml if it is empty.

    Raises:
        UsdError: an unknown key, a wrong value, or one that params.yaml has by an alias elsewhere too.
    """
    where = where or str(params)
    yaml = YAML()
    yaml.width = 120
    current = _load(yaml, params, FROM_ROOT)
    before = _mistakes(read_text(params, FROM_ROOT))
    changes = [line for values in wanted for line in _merge(current, values, where, "")]
    written = StringIO()
    yaml.dump(current, written)
    if found := _mistakes(written.getvalue()):
        raise UsdError("\n".join(f"{params if mistake in before else where}: {mistake}" for mistake in found))
    if changes:
        ends = "\r\n" if b"\r\n" in params.read_bytes() else "\n"
        atomic_write(params, written.getvalue().replace("\n", ends))
    return changes


def _mistakes(text: str) -> list[str]:
    """What `build` complains about in the text of a params.yaml, a line each."""
    try:
        build(Params, parse_yaml(text, ""), "")
    except UsdError as error:
        return str(error).splitlines()
    return []


def _merge(current: Any, wanted: dict[str, Any], where: str, prefix: str) -> Iterator[str]:
    for key, value in wanted.items():
        if key not in current:
            raise UsdError(f"{where}: {prefix}{key}: unknown key; params.yaml has {', '.join(map(str, current))}")
        if isinstance(value, dict) and isinstance(current[key], dict):
            changes = list(_merge(current[key], value, where, f"{prefix}{key}."))
            if changes and (name := current[key].anchor.value):
                raise UsdError(
                    f"{where}: {prefix}{key}: params.yaml has it elsewhere too, as *{name}; write it out there"
                )
            yield from changes
        elif current[key] != value or _kind(current[key]) != _kind(value):
            yield f"{prefix}{key}: {current[key]} → {value}"
            current[key] = _on_one_line(value) if isinstance(value, list) else _nameless(value)


def _kind(value: Any) -> Any:
    if isinstance(value, list):
        return [_kind(each) for each in value]
    return next((kind for kind in KINDS if isinstance(value, kind)), None)


def _nameless(value: Any) -> Any:
    """The value without its anchor, with which ruamel loses the comment that follows."""
    if hasattr(value, "yaml_set_anchor"):
        value.yaml_set_anchor(None)
    return value


def _on_one_line(values: list[Any]) -> CommentedSeq:
    """The list as `[1, 2]`, as all lists in params.yaml are written."""
    found = CommentedSeq(map(_nameless, values))
    found.fa.set_flow_style()
    return found


def _load(yaml: YAML, path: Path, remedy: str) -> Any:
    """The file's values as they are written: with comments, quotes and the form of numbers."""
    text = read_text(path, remedy)
    if not isinstance(parse_yaml(text, str(path)), dict):  # or not valid
        raise UsdError(f"{path}: not a mapping of sections, such as `train: {{steps: 400}}`")
    yaml.preserve_quotes = True
    return yaml.load(text)

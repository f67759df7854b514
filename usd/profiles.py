"""Parameter profiles: a file of values that is written into params.yaml."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from usd.config import PARAMS, Params, build
from usd.errors import UsdError
from usd.files import atomic_write


def apply(profile: Path, params: Path = PARAMS) -> list[str]:
    """Write the profile's values into params.yaml, keeping its comments; returns what changed, a line each.

    Raises:
        UsdError: an unreadable file, or a key that params.yaml does not have; nothing is written then.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    try:
        current, wanted = yaml.load(params), YAML(typ="safe").load(profile)
    except OSError as error:
        raise UsdError(f"{error.filename}: {error.strerror}; profiles/ has those that come with the project") from None
    except YAMLError as error:
        raise UsdError(f"{profile}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(wanted, dict):
        raise UsdError(f"{profile}: not a mapping of sections of params.yaml")
    changes = list(_merge(current, wanted, str(profile), ""))
    build(Params, YAML(typ="safe").load(_dump(yaml, current)), str(profile))
    atomic_write(params, _dump(yaml, current))
    return changes


def _merge(current: Any, wanted: dict[str, Any], where: str, prefix: str) -> Iterator[str]:
    for key, value in wanted.items():
        if key not in current:
            raise UsdError(f"{where}: params.yaml has no '{prefix}{key}'")
        if isinstance(value, dict) and isinstance(current[key], dict):
            yield from _merge(current[key], value, where, f"{prefix}{key}.")
        elif current[key] != value:
            yield f"{prefix}{key}: {current[key]} → {value}"
            current[key] = value


def _dump(yaml: YAML, value: Any) -> str:
    text = StringIO()
    yaml.dump(value, text)
    return text.getvalue()

"""Read params.yaml and check it: all mistakes at once, one line each."""

import re
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from usd.config.sections import Params
from usd.errors import UsdError
from usd.files import read_text

PARAMS = Path("params.yaml")
FROM_ROOT = "run from the project's root"  # the remedy for a params.yaml that is not there
MADE = {"base": "models/base", "warm_start": "models/control"}  # by stages, so they need not be there yet
DEEPEST = 50  # levels of nesting
T = TypeVar("T")

MESSAGES = {  # pydantic's kind of error → what we say
    "missing": "is missing; add it, or get it back with `git restore params.yaml`",
    "int_type": "must be a whole number, found {input!r}",
    "float_type": "must be a number, found {input!r}",
    "finite_number": "must be a number, found {input!r}",
    "bool_type": "must be true or false, found {input!r}",
    "string_type": "must be text, found {input!r}",
    "list_type": "must be a list such as [1, 2], found {input!r}",
    "dict_type": "must be a mapping of keys to values, found {input!r}",
    "dataclass_type": "must be a mapping of keys to values, found {input!r}",
    "literal_error": "must be one of {expected}, found {input!r}",
    "greater_than": "must be more than {gt:g}, found {input!r}",
    "greater_than_equal": "must be at least {ge:g}, found {input!r}",
    "less_than": "must be less than {lt:g}, found {input!r}",
    "less_than_equal": "must be at most {le:g}, found {input!r}",
    "multiple_of": "must be a multiple of {multiple_of:g}, found {input!r}",
    "too_short": "needs at least {min_length} value(s), found {input!r}",
    "too_long": "needs at most {max_length} values, found {input!r}",
    "string_pattern_mismatch": "must be the name of a folder beside params.yaml, such as photos, found {input!r}",
    "string_too_short": "must not be empty",
    "value_error": "{error}",
}


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml.

    Raises:
        UsdError: the file or keys are missing, unknown, of the wrong type or out of range, a line for each; or in a
            project the folders that a training starts from are not there.
    """
    params = build(Params, parse_yaml(read_text(path, FROM_ROOT), str(path)), str(path))
    if path.with_name("dvc.yaml").is_file():
        for key in MADE:
            _check_folder(path, key, getattr(params.train, key))
    return params


def _check_folder(params: Path, key: str, folder: str) -> None:
    """Raise if neither the folder is there, nor anything that makes it: a stage, or a file of `dvc add`."""
    place = params.parent / folder
    if folder not in MADE.values() and not place.exists() and not place.with_name(f"{place.name}.dvc").exists():
        remedy = f"name one that is, such as {MADE[key]}, or download it: docs/own-base.md"
        raise UsdError(f"{params}: train.{key}: {folder} is not there; {remedy}")


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text, read as DVC reads it: as YAML 1.2, where `no` is text and `1e-4` is a number.

    Raises:
        UsdError: it is not valid YAML; `where` is named.
    """
    try:
        check_depth(text)
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError, LookupError) as error:
        hint = "; indent with spaces, not tabs" if "\t" in text else ""
        raise UsdError(f"{where}: not valid YAML: {fault(error)}{hint}") from None


def check_depth(text: str | bytes) -> None:
    """Raise a ValueError if lists and mappings of a YAML text are so deep that reading them would end the program."""
    depth = 0
    for event in YAML(typ="safe").parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels of nesting")


def fault(error: Exception) -> str:
    """What is wrong with a YAML text, on one line; ruamel also says how to turn its checks off."""
    if isinstance(error, LookupError):
        return f"a value does not fit its tag ({error})"
    found = " ".join(str(error).partition("To suppress this check")[0].split())
    return re.sub(' in "<(unicode|byte) string>"', "", found) or type(error).__name__


def build(cls: type[T], values: Any, where: str) -> T:
    """Make a section, or all of `Params`, of a mapping.

    Raises:
        UsdError: a line for each mistake, which begins with `where` and names the key.
    """
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise UsdError("\n".join(_line(cls, mistake, where) for mistake in error.errors())) from None


def _line(cls: type, mistake: Mapping[str, Any], where: str) -> str:
    """One mistake in words: `params.yaml: train.steps: must be at least 1, found 0`."""
    *parents, last = mistake["loc"] or ("",)
    key = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "unexpected_keyword_argument":
        known = [field.name for field in fields(_section(cls, parents))]
        close = get_close_matches(str(last), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        text = f"unknown key; {hint}"
    else:
        known_as = MESSAGES.get(mistake["type"])
        text = known_as.format(input=mistake["input"], **mistake.get("ctx", {})) if known_as else mistake["msg"]
    return ": ".join(part for part in (where, key, text) if part)


def _section(cls: Any, keys: list[int | str]) -> Any:
    """The dataclass that stands below these keys."""
    for key in keys:
        cls = typing.get_type_hints(cls)[str(key)] if is_dataclass(cls) else typing.get_args(cls)[1]  # of dict[str, X]
    return cls

"""Which dataset the pipeline works on: the scenes that it draws, or a folder of your own pictures."""

import re
import shlex
from pathlib import Path
from typing import Any

from usd.config.data import FOLDER, free_name
from usd.config.loading import FROM_ROOT, PARAMS, parse_yaml
from usd.config.profiles import change, values_of
from usd.errors import UsdError
from usd.files import read_text

RENDERED = "rendered"
SCENES = "data/scenes"


def use(name: str, params: Path = PARAMS) -> list[str]:
    """Write into params.yaml that the pipeline works on a folder, or again on what it draws; returns what changed.

    Folders that were used before stay in `paths.photos`, so that DVC keeps their datasets up to date too; with
    "rendered" the list is empty again.

    Args:
        name: "rendered", or a folder beside params.yaml that `dvc add` or `dvc import-url` tracks.
        params: The file to change.

    Raises:
        UsdError: the folder is not there, DVC does not track it, or params.yaml cannot be changed so.
    """
    name = name.removeprefix("./").rstrip("/")  # as a shell completes it
    values = parse_yaml(read_text(params, FROM_ROOT), str(params))
    profiles = params.parent / "profiles"
    if name == RENDERED:
        return change([{"paths": {"scenes": SCENES, "photos": []}}, values_of(profiles / "rendered.yaml")], params)
    if not re.fullmatch(FOLDER, name):
        raise UsdError(f"usd use {name}: {_remedy(name)}")
    try:
        free_name(name)
    except ValueError as error:
        raise UsdError(f"usd use {name}: {error}") from None
    if not (params.parent / f"{name}.dvc").is_file():
        raise UsdError(f"usd use {name}: {name}.dvc is not there; track the folder first: `dvc add {name}`")
    listed = _photos(values)
    paths = {"scenes": f"data/{name}", "photos": listed if name in listed else [*listed, name]}
    return change([{"paths": paths}, values_of(profiles / "photos.yaml")], params)


def _remedy(name: str) -> str:
    """What to do with a folder that is elsewhere, or has a name that commands of dvc.yaml cannot have."""
    expected = "expected 'rendered', or a folder beside params.yaml whose name has only letters, digits, _ and -"
    last = re.sub(r"[^\w-]+", "_", Path(name).name).strip("_-")
    if not last:
        return f"{expected}, such as photos"
    done = "move it there" if "/" in name else "rename it"
    return f"{expected}; {done}, with `dvc move {shlex.quote(name)} {last}` if DVC tracks it"


def _photos(values: Any) -> list[Any]:
    """The list paths.photos; empty where there is none, about which `change` complains."""
    try:
        found = values["paths"]["photos"]
    except (KeyError, TypeError):
        return []
    return found if isinstance(found, list) else []

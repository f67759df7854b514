"""Which dataset the pipeline works on: the scenes that it draws, or a folder of your own pictures."""

import re
from pathlib import Path

from usd.config.data import FOLDER, TAKEN
from usd.config.loading import FROM_ROOT, PARAMS, read
from usd.config.profiles import change, values_of
from usd.errors import UsdError

RENDERED = "rendered"
SCENES = "data/scenes"


def use(name: str, params: Path = PARAMS) -> list[str]:
    """Write into params.yaml that the pipeline works on a folder, or again on what it draws; returns what changed.

    Args:
        name: "rendered", or a folder beside params.yaml that `dvc add` or `dvc import-url` tracks.
        params: The file to change.

    Raises:
        UsdError: the folder is not there, DVC does not track it, or params.yaml cannot be changed so.
    """
    read(params, FROM_ROOT)
    profiles = params.parent / "profiles"
    if name == RENDERED:
        return change([{"paths": {"scenes": SCENES, "photos": []}}, values_of(profiles / "rendered.yaml")], params)
    if not re.fullmatch(FOLDER, name) or name in TAKEN:
        raise UsdError(f"usd use {name}: expected 'rendered', or a folder beside params.yaml, such as photos")
    if not (params.parent / f"{name}.dvc").is_file():
        raise UsdError(f"usd use {name}: {name}.dvc is not there; track the folder first: `dvc add {name}`")
    paths = {"paths": {"scenes": f"data/{name}", "photos": [name]}}
    return change([paths, values_of(profiles / "photos.yaml")], params)

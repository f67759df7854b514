"""Where the results of `usd generate` go, and what they must not be written over."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from usd.errors import UsdError

LONGEST_NAME = 230  # bytes of a query's, so that those of its results and of their first drafts fit into 255


def results_of(queries: list[Path], example: tuple[Path, Path], out: Path) -> list[Path]:
    """Where the results go: `<query>.png` in `out`.

    Raises:
        UsdError: one would be written over another, over a picture given, or over a file that is not an earlier
            result, or its name would be too long for a file.
    """
    names = [path.stem for path in queries]
    for path in queries:
        if len(os.fsencode(path.stem)) > LONGEST_NAME:
            raise UsdError(f"{path}: its result would have too long a name; shorten it")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsdError(f"{queries[0].parent}: two queries are named '{twice}'; their results would share a file")
    if out.exists() and not out.is_dir():
        raise UsdError(f"{out}: --out is a folder, and this is a file")
    if out.is_symlink() and not out.exists():
        raise UsdError(f"{out}: a link that leads nowhere; choose another --out")
    given = {os.path.realpath(path) for path in (*queries, *example)}
    results = [out / f"{name}.png" for name in names]
    for picture in results:
        if os.path.realpath(picture) in given:
            raise UsdError(f"{picture}: the result would be written over this picture; choose another --out")
        for path in (picture, picture.with_suffix(".json")):
            if path.exists() and not (path.is_file() and _is_note(picture.with_suffix(".json"))):
                raise UsdError(f"{path}: exists and is not an earlier result; choose another --out")
    return results


def _is_note(path: Path) -> bool:
    """Whether it is a JSON file that was written beside a result."""
    try:
        return "weights_sha256" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


@contextmanager
def no_empty_folder(out: Path) -> Iterator[None]:
    """If the block fails, the folders that it made for `out` and left empty are removed."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise

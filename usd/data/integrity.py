"""Whether shards are as they were made: hashed once, and again only after they changed.

What was found good is remembered by size, time of change and inode, below `.usd/`, outside of what DVC tracks.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from usd.data.index import PACK_AGAIN, File
from usd.data.storage import Root, is_remote, sizes
from usd.errors import UsdError
from usd.files import atomic_write, lasting, sha256

UPLOAD_AGAIN = "upload the shards again"
KEPT = ".usd"  # what this project can do without
Stamp = list[int]  # size, time of change in ns, inode


def check(root: Root, files: Iterable[File], remedy: str = "") -> None:
    """Compare files with the index; those of a URL by their sizes. `remedy` ends the message, if not that of shards.

    Raises:
        UsdError: one is missing, or is not as it was made.
    """
    if is_remote(root):
        _check_sizes(str(root), files, remedy or UPLOAD_AGAIN)
        return
    memory = _memory(Path(root))
    known = _read(memory)
    seen = {file.name: _checked(Path(root), file, known.get(file.name), remedy or PACK_AGAIN) for file in files}
    if seen != known:
        _remember(memory, seen)


def remember(root: Path, files: Iterable[File]) -> None:
    """Note files that were hashed just now, as they were made."""
    _remember(_memory(root), {file.name: [file.sha256, *_stamp(root / file.name)] for file in files})


def _checked(root: Path, file: File, known: list[object] | None, remedy: str) -> list[object]:
    """Digest and stamp of a file, after a check that it is unchanged."""
    path = root / file.name
    try:
        entry = [file.sha256, *_stamp(path)]
        if entry == known:
            return entry
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        raise UsdError(f"{path}: not found; {remedy}") from None
    except OSError as error:
        raise UsdError(f"{path}: not readable ({error.strerror}); {remedy}") from error
    if found != file.sha256:
        raise UsdError(f"{path}: damaged (sha256 differs from the index); {remedy}")
    return entry


def _check_sizes(root: str, files: Iterable[File], remedy: str) -> None:
    files = list(files)
    found = sizes(root, [file.name for file in files])
    for file in files:
        if file.name not in found:
            raise UsdError(f"{root}/{file.name}: not found; {remedy}")
        if found[file.name] != file.bytes:
            raise UsdError(f"{root}/{file.name}: of another size than the index says; {remedy}")


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _memory(root: Path) -> Path:
    return lasting(KEPT) / "checked" / f"{sha256(str(root.resolve()).encode())[:16]}.json"


def _read(memory: Path) -> dict[str, list[object]]:
    try:
        return dict(json.loads(memory.read_text()))
    except (OSError, ValueError):
        return {}


def _remember(memory: Path, seen: dict[str, list[object]]) -> None:
    try:
        atomic_write(memory, json.dumps(seen))
    except UsdError:  # a file system that cannot be written: everything is hashed at the next start, too
        return

"""Files and folders: digests, and writes that are whole or not there."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

from safetensors import SafetensorError

from usd.errors import UsdError

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")
STATE = "USD_STATE"  # environment variable: see `lasting`
RUN_STAGE = "run the stage that makes it"  # the remedy for a file that a stage writes


class Busy(UsdError):
    """Another process is in a block of `sole_writer`."""


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def path_digest(path: Path) -> str:
    """Hex digest of a file, or of the files below a folder, their names included; if nothing is there, of no files."""
    if path.is_file():
        return sha256(path.read_bytes())
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def read_file(path: Path, remedy: str = RUN_STAGE) -> bytes:
    """The bytes of a file, such as one that a stage has written.

    Raises:
        UsdError: it cannot be read; the remedy is named.
    """
    return _read(path.read_bytes, path, remedy)


def read_text(path: Path, remedy: str = RUN_STAGE) -> str:
    """The text of a file: see `read_file`."""
    return _read(partial(path.read_text, encoding="utf-8"), path, remedy)


def read_json(path: Path, remedy: str = RUN_STAGE) -> Any:
    """The value in a JSON file: see `read_file`."""
    try:
        return json.loads(read_text(path, remedy))
    except (ValueError, RecursionError) as error:
        raise UsdError(f"{path}: not readable ({error}); {remedy}") from error


def _read(read: Callable[[], T], path: Path, remedy: str) -> T:
    try:
        return read()
    except FileNotFoundError:
        raise UsdError(f"{path}: not found; {remedy}") from None
    except OSError as error:
        raise UsdError(f"{path}: not readable: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError:
        advice = RUN_STAGE if remedy == RUN_STAGE else "save it in that encoding"
        raise UsdError(f"{path}: not UTF-8; {advice}") from None


@contextmanager
def atomic_directory(target: Path, mark: str = "") -> Iterator[Path]:
    """A scratch directory that takes the place of `target` if the block succeeds and vanishes if not.

    Where `target` is a link, it takes the place of what the link points to.

    Args:
        target: The directory.
        mark: A file that the block always makes; a folder with files and without this one is kept.

    Raises:
        UsdError: it cannot be written, is or contains the current folder, or something else is there; or another
            process is writing it.
    """
    place, here = (Path(os.path.realpath(path)) for path in (target, "."))
    if place in (here, *here.parents):
        raise UsdError(f"{target}: is or contains the current folder and cannot be replaced; name another")
    try:
        with sole_writer(target):
            check_replaceable(target, mark)
            with _scratch(place) as scratch:
                yield scratch
    except FileNotFoundError as error:
        raise UsdError(f"{error.filename}: not found; {RUN_STAGE}") from error
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        at = getattr(error, "filename", None)
        if at and place.parent not in Path(os.path.realpath(at)).parents:
            raise UsdError(f"{at}: cannot be used: {reason}; {target} is as it was") from error
        raise UsdError(f"{target}: could not be written: {reason}; earlier outputs are kept") from error


def check_replaceable(target: Path, mark: str) -> None:
    """Raise if `atomic_directory` would keep what is at `target`; said before long work, whose result it replaces.

    Raises:
        UsdError: it is not a folder, or a folder with files and without `mark`.
    """
    if target.exists() and not target.is_dir():
        raise UsdError(f"{target}: what is there is not a folder, so it is kept; name another")
    if mark and target.exists() and not (target / mark).is_file() and any(target.iterdir()):
        raise UsdError(f"{target}: has no {mark}, so this stage did not make it; name another folder, or remove it")


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    scratch, earlier = (target.with_name(f".{target.name}.{what}") for what in ("partial", "earlier"))
    shutil.rmtree(scratch, ignore_errors=True)
    if earlier.exists() and not target.exists():  # killed between the two renames below
        earlier.rename(target)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        _share_weights(scratch, scratch.stat().st_mode & 0o666)
        shutil.rmtree(earlier, ignore_errors=True)
        if target.exists():
            target.rename(earlier)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(earlier, ignore_errors=True)


def _share_weights(folder: Path, mode: int) -> None:
    """Let others read weights, which are written for their owner alone; `Path.rglob` would hold all files in memory."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _share_weights(Path(entry), mode)
            elif entry.name.endswith(".safetensors"):
                with suppress(OSError):  # of file systems without modes
                    os.chmod(entry, mode)


@contextmanager
def sole_writer(target: Path) -> Iterator[None]:
    """While the block runs, no other process gets into such a block for `target`; one that was killed holds nothing.

    The lock is this process's own: workers that it has forked, and which may outlive it, do not hold it.

    Raises:
        Busy: another process is in such a block.
        UsdError: `target` cannot be written.
    """
    place = Path(os.path.realpath(target))
    lock = place.parent / f".{place.name}.lock.partial"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        opened = lock.open("a")
    except OSError as error:
        raise UsdError(f"{target}: could not be written: {error.strerror or error}") from error
    with opened as file:
        if not _locked(file):
            raise Busy(f"{target}: another process is writing it; wait until it has ended, or end it")
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


def _locked(file: IO[str]) -> bool:
    """Take a lock on an open file; also True where the system or the file system has none."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    with suppress(FileNotFoundError):  # its last owner may have removed it since it was opened
        return os.path.samestat(os.fstat(file.fileno()), os.stat(file.name))
    return False


def check_writable(*targets: Path) -> None:
    """Before long work, raise if one of its results could not be written after it."""
    for target in targets:
        try:
            folder = Path(os.path.realpath(target)).parent if target.is_dir() else target.parent
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UsdError(f"{target}: cannot be written: {error.strerror or error}; nothing was started") from error


def atomic_write(target: Path, text: str | bytes, *others: tuple[Path, str | bytes]) -> None:
    """Write a file under a temporary name, then rename it: the last of several writers wins.

    Others that belong to it are written with it: all are whole before the first is renamed. Where a target is a link,
    the file takes the place of what the link points to.

    Raises:
        UsdError: one cannot be written, or is not a regular file; all are as before, unless a later renaming fails.
    """
    drafts: dict[Path, Path] = {}  # temporary name → name
    try:
        for each, data in ((target, text), *others):
            place = Path(os.path.realpath(each))
            if place.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder; name a file")
            if os.path.lexists(place) and not place.is_file():
                raise FileExistsError(errno.EEXIST, "what is there is not a regular file; name another")
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = place.parent / f".{place.name}.{token_hex(4)}.partial"
            drafts[scratch] = place
            scratch.write_bytes(data.encode() if isinstance(data, str) else data)
        for scratch, each in drafts.items():
            os.replace(scratch, each)
    except OSError as error:
        raise UsdError(f"{each}: could not be written: {error.strerror or error}") from error
    finally:
        for scratch in drafts:
            with suppress(OSError):  # renamed, or not to be removed either
                scratch.unlink()


def path_text(path: Path) -> str:
    r"""A path as text; bytes that are not UTF-8 appear as \xNN."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def lasting(path: str) -> Path:
    """Where the project keeps state: below the folder that $USD_STATE names, if it does, as in an experiment.

    The experiment's own copy of the project is removed after it.
    """
    return Path(os.environ.get(STATE, "")) / path

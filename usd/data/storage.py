"""Files by path or URL: on this machine, in `s3://` buckets, or wherever else fsspec reaches.

Credentials and endpoint are where every S3 client looks for them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL or ~/.aws. Dropped connections and silent servers are tried again; after at most
ATTEMPTS · READ_TIMEOUT seconds and the pauses between them, about 160 s, an error names the file.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from usd.errors import UsdError

Root = str | Path  # a folder or the URL of one
Result = TypeVar("Result")
ATTEMPTS = 5  # of the same request; the clients' own are off, since 5 attempts of 5 of 5 wait for hours
BACKOFF = 0.5  # seconds before the second attempt; doubles
CONNECT_TIMEOUT = 10.0  # seconds; time for three lost packets, which are sent again after 1, 3 and 7 s
READ_TIMEOUT = 30.0  # seconds without a byte: a busy storage takes some seconds, and a slow one sends a few bytes
CONNECTIONS = 256  # at the same time: what waits for another's connection waits for its time limit, too
HTTP = ("http", "https")
TOO_MANY = 429  # HTTP status: lower ones stay the same at another attempt


def is_remote(root: Root) -> bool:
    """Whether it is a URL."""
    return "://" in str(root)


def read_bytes(url: str) -> bytes:
    """All of a file."""
    return _tried(url, lambda files, path: bytes(files.cat_file(path)))


def write_bytes(url: str, data: bytes) -> None:
    """Write a file whole or not at all."""

    def write(files: Any, path: str) -> None:
        try:
            with files.open(path, "wb") as file:
                file.write(data)
        except NotImplementedError as error:
            raise UsdError(f"{url}: {_protocol(url)} cannot be written to; use s3://bucket/folder") from error

    _tried(url, write)


def sizes(root: str, names: Sequence[str]) -> dict[str, int]:
    """Bytes of each of these files of a folder, from one listing, or from a request for each where that lacks sizes."""

    def listed(files: Any, path: str) -> dict[str, int | None]:
        if _protocol(root) not in HTTP:
            return {Path(entry["name"]).name: entry["size"] for entry in files.ls(path, detail=True, refresh=True)}
        return {name: files.info(f"{path}/{name}")["size"] for name in names}

    found = _tried(root, listed)
    return {name: int(size) for name in names if (size := found.get(name)) is not None}


def read_ranges(ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Parts of files below one URL, as (url, start, end), fetched at the same time; what failed is fetched again.

    Raises:
        UsdError: the storage does not answer after ATTEMPTS attempts, or refuses; it names the file.
    """
    found: list[bytes | Exception] = [TimeoutError() for _ in ranges]
    for attempt in range(1, ATTEMPTS + 1):
        left = [number for number, part in enumerate(found) if isinstance(part, Exception)]
        with _explained(ranges[left[0]][0]):
            files = _filesystem(ranges[0][0])
            urls, starts, ends = zip(*(ranges[number] for number in left), strict=True)
            paths = [files._strip_protocol(url) for url in urls]
            parts = files.cat_ranges(paths, list(starts), list(ends), max_gap=None, on_error="return")
        for number, part in zip(left, parts, strict=True):
            found[number] = part
        failed = next((number for number in left if isinstance(found[number], Exception)), None)
        if failed is None:
            break
        error = found[failed]
        if not _again(error, attempt):
            with _explained(ranges[failed][0]):
                raise error  # type: ignore[misc]
    for (url, start, end), part in zip(ranges, found, strict=True):
        if len(part) > end - start:  # type: ignore[arg-type]
            raise UsdError(f"{url}: the server ignores ranges of bytes; serve the shards from one that knows them")
    return found  # type: ignore[return-value]


def _tried(url: str, work: Callable[[Any, str], Result]) -> Result:
    """What `work` makes of a file system and a path in it, in ATTEMPTS attempts at most."""
    with _explained(url):
        for attempt in range(1, ATTEMPTS + 1):
            files = _filesystem(url)
            try:
                return work(files, files._strip_protocol(url))
            except Exception as error:
                if not is_remote(url) or not _again(error, attempt):
                    raise
    raise AssertionError("unreachable")


def _again(error: Any, attempt: int) -> bool:
    """Whether to try again after an attempt that failed; if so, it is time for it."""
    if attempt == ATTEMPTS or not _passing(error):
        return False
    time.sleep(BACKOFF * 2 ** (attempt - 1))
    return True


def _filesystem(url: str) -> Any:
    """The client for a URL, with the timeouts of this module and without attempts of its own."""
    options: dict[str, Any] = {}
    if _protocol(url) == "s3":
        limits = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": READ_TIMEOUT, "max_pool_connections": CONNECTIONS}
        options = {"config_kwargs": {**limits, "retries": {"total_max_attempts": 1}}}
    elif _protocol(url) in HTTP:
        from aiohttp import ClientTimeout

        limit = ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT)
        options = {"client_kwargs": {"timeout": limit}}
    files = fsspec.url_to_fs(url, **options)[0]
    if _protocol(url) == "s3":
        files.retries = 1
    return files


def _protocol(url: str) -> str:
    return url.partition("://")[0] if is_remote(url) else ""


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Errors as one line with the remedy."""
    try:
        yield
    except ImportError as error:
        raise UsdError(f"{url}: {error}") from error
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, FileNotFoundError):
            raise UsdError(f"{url}: not found") from error
        if not (isinstance(cause, OSError | ValueError) or _of_client(cause)):
            raise
        raise UsdError(f"{url}: {_reason(url, cause)}") from error


def _reason(url: str, error: Any) -> str:
    words = " ".join(str(error).split())
    if not is_remote(url):
        return words
    if _unauthorised(error):
        return f"{words}; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws"
    if not _passing(error):
        return words
    late = isinstance(error, TimeoutError) or "Timeout" in type(error).__name__
    what = f"no answer within {READ_TIMEOUT:g} s" if late else words or type(error).__name__
    return f"{what}, tried {ATTEMPTS} times; check the network and the server, then run the same command again"


def _cause(error: Any) -> Any:
    """The reason why fsspec says that a file is not found, if that is another."""
    hidden = isinstance(error, FileNotFoundError) and _passing(error.__cause__)
    return error.__cause__ if hidden else error


def _passing(error: Any) -> bool:
    """Whether another attempt may succeed: the connection broke, or the server was silent or too busy."""
    error = error.__cause__ if isinstance(error, FileNotFoundError) else error
    answered = isinstance(getattr(error, "response", None), dict) or getattr(error, "status", TOO_MANY) < TOO_MANY
    final = answered or isinstance(error, FileNotFoundError) or _unauthorised(error)
    return not final and (isinstance(error, OSError) or _of_client(error))


def _unauthorised(error: Any) -> bool:
    return isinstance(error, PermissionError) or "credential" in str(error).lower()


def _of_client(error: Any) -> bool:
    return type(error).__module__.split(".")[0] in ("botocore", "aiobotocore", "aiohttp")

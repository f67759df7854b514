"""Files by path or URL: on this machine, in `s3://` buckets, or wherever else fsspec reaches.

Credentials and endpoint are where every S3 client looks for them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL or ~/.aws. Dropped connections are tried again by the client.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec

from usd.errors import UsdError

Root = str | Path  # a folder or the URL of one
ATTEMPTS = 5  # beside those that the client itself makes
BACKOFF = 0.5  # seconds before the second attempt; doubles


def is_remote(root: Root) -> bool:
    """Whether it is a URL."""
    return "://" in str(root)


def open_binary(url: str, mode: str = "rb") -> IO[bytes]:
    """Open a file; a written one appears when it is closed."""
    with _explained(url):
        file: IO[bytes] = fsspec.open(url, mode).open()
    return file


def read_bytes(url: str) -> bytes:
    """All of a file."""
    with _explained(url), fsspec.open(url, "rb") as file:
        found: bytes = file.read()
    return found


def write_bytes(url: str, data: bytes) -> None:
    """Write a file whole or not at all."""
    with _explained(url), fsspec.open(url, "wb") as file:
        file.write(data)


def sizes(root: str) -> dict[str, int]:
    """Bytes of each file of a folder, from one listing."""
    with _explained(root):
        files, path = fsspec.url_to_fs(root)
        return {Path(entry["name"]).name: int(entry["size"]) for entry in files.ls(path, detail=True, refresh=True)}


def read_ranges(ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """Parts of files below one URL, as (url, start, end), fetched at the same time.

    Raises:
        UsdError: the storage does not answer after ATTEMPTS attempts, or refuses.
    """
    for attempt in range(1, ATTEMPTS + 1):
        with _explained(ranges[0][0]):
            files, _ = fsspec.url_to_fs(ranges[0][0])
            paths = [files._strip_protocol(url) for url, _, _ in ranges]
            starts, ends = [start for _, start, _ in ranges], [end for _, _, end in ranges]
            try:
                return list(files.cat_ranges(paths, starts, ends, max_gap=None, on_error="raise"))
            except Exception as error:
                if attempt == ATTEMPTS or not _passing(error):
                    raise
        time.sleep(BACKOFF * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Errors as one line with the remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsdError(f"{url}: not found") from error
    except ImportError as error:
        raise UsdError(f"{url}: {error}") from error
    except Exception as error:
        if not (isinstance(error, OSError | ValueError) or _of_client(error)):
            raise
        remedy = "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws"
        credentials = isinstance(error, PermissionError) or "credential" in str(error).lower()
        reason = " ".join(str(error).split())
        raise UsdError(f"{url}: {reason}{f'; {remedy}' if credentials and is_remote(url) else ''}") from error


def _passing(error: Any) -> bool:
    """Whether another attempt may succeed: the connection broke, or the server was too busy."""
    refused = isinstance(error, FileNotFoundError | PermissionError)
    return not refused and (isinstance(error, OSError | TimeoutError) or _of_client(error))


def _of_client(error: Any) -> bool:
    return type(error).__module__.split(".")[0] in ("botocore", "aiobotocore", "aiohttp")

"""Files by path or URL: on this machine, in `s3://` buckets, or wherever else fsspec reaches.

Credentials and endpoint are where every S3 client looks for them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL or ~/.aws. Dropped connections are tried again by the client.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec

from usd.errors import UsdError

Root = str | Path  # a folder or the URL of one


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


def size(url: str) -> int:
    """Bytes of a file, without reading it."""
    with _explained(url):
        files, path = fsspec.url_to_fs(url)
        return int(files.size(path))


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


def _of_client(error: Any) -> bool:
    return type(error).__module__.split(".")[0] in ("botocore", "aiobotocore", "aiohttp")

"""Where a base or a model comes from: a directory, or a repository of the hub."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported as it is named
from safetensors import SafetensorError

from usd.config.values import HUB_ID
from usd.errors import UsdError

DAMAGED = (  # what diffusers and transformers raise about files that are missing, cut off, or of other values
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    SafetensorError,
)
SETTINGS = ("*.json", "*.txt", "*.model")  # beside the weights


class Unreadable(UsdError, ValueError):
    """A directory that cannot be loaded; a ValueError too, as diffusers' own are."""


@contextmanager
def one_line_errors(path: str | Path) -> Iterator[None]:
    """Turn what diffusers and transformers raise about a directory into one line that names it."""
    try:
        yield
    except DAMAGED as error:
        if isinstance(error, UsdError):
            raise
        raise Unreadable(f"{path}: not readable: {' '.join(str(error).split())[:300]}") from error


def local_copy(
    path: str,
    what: str,
    parts: Iterable[str],
    revision: str | None = None,
    token: str | None = None,
    variant: str | None = None,
) -> Path:
    """The directory `path`; or of a hub id, the folders `parts` of the repository in the hub's cache.

    Of the weights only safetensors are fetched, of the variant asked for, else in full precision if there are any.

    Raises:
        UsdError: there is no such directory, or the repository is neither cached nor can it be downloaded.
    """
    root = Path(path)
    if root.is_dir():
        return root
    if not HUB_ID.fullmatch(path):
        raise UsdError(f"{path}: no such directory; {what} is a diffusers directory or a hub id (owner/name)")
    try:
        wanted = _wanted(HfApi(token=token).list_repo_files(path, revision=revision), parts, variant)
        return Path(snapshot_download(path, revision=revision, token=token, allow_patterns=wanted))
    except (OfflineModeIsEnabled, ConnectionError, httpx.TransportError):
        return _cached(path, what, revision)
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsdError(f"{path}: no such directory, and it cannot be downloaded from the hub: {reason}") from error


def _cached(path: str, what: str, revision: str | None) -> Path:
    try:
        return Path(snapshot_download(path, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError) as error:
        raise UsdError(
            f"{path}: no such directory, and the hub cannot be reached; give {what} as a directory, or download it "
            f"first with network: hf download {path}"
        ) from error


def _wanted(names: list[str], parts: Iterable[str], variant: str | None) -> list[str]:
    """Of a repository's files, the settings, card and weights of the parts."""
    found = [name for name in names if name in ("model_index.json", "README.md")]
    for part in parts:
        files = [name for name in names if name.startswith(f"{part}/") and name.count("/") == 1]
        found += [name for name in files if any(fnmatch(name, f"*/{pattern}") for pattern in SETTINGS)]
        weights = [name for name in files if name.endswith(".safetensors")]
        kinds = ([name for name in weights if variant_of(name) == kind] for kind in (variant, None, "fp16"))
        found += next(filter(None, kinds), [])
    return found


def variant_of(name: str) -> str | None:
    """`fp16` of `model.fp16.safetensors` or `model.fp16-00001-of-00002.safetensors`; None of `model.safetensors`."""
    return name_of_weights(name)[1] or None


def name_of_weights(path: str) -> tuple[str, str]:
    """`model` and `fp16` of `unet/model.fp16-00001-of-00002.safetensors`, a part and its variant, if any."""
    name = re.sub(r"-\d{5}-of-\d{5}\b", "", Path(path).name.removesuffix(".safetensors"))
    part, _, variant = name.partition(".")
    return part, variant

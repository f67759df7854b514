"""The record: one sample on disk and in a shard, and the folder dataset with its manifest.

A folder dataset holds `<split>/<key>.<field>.png` and `manifest.parquet`, one row a sample.
A shard holds the same fields under the same names, and the caption as `<key>.txt`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from safetensors import SafetensorError

from usd.errors import UsdError

SPLITS = ("train", "val", "test")
MANIFEST = "manifest.parquet"


def field_path(root: Path, key: str, field: str) -> Path:
    """Where a folder dataset keeps a field of a sample; the key starts with its split."""
    return root / key.split("-")[0] / f"{key}.{field}.png"


def encode_png(array: np.ndarray) -> bytes:
    """PNG bytes of (H, W) uint8/uint16 or (H, W, 3) uint8 RGB; the same array gives the same bytes."""
    picture = cv2.cvtColor(array, cv2.COLOR_RGB2BGR) if array.ndim == 3 else array
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1].tobytes()


def decode_png(data: bytes, name: str) -> np.ndarray:
    """The array of PNG bytes: (H, W) or (H, W, 3) RGB, uint8 or uint16.

    Raises:
        UsdError: the bytes are no complete picture; `name` is in the message.
    """
    complete = data.rstrip(b"\0").endswith(b"IEND\xaeB`\x82")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if complete else None
    if picture is None:
        raise UsdError(f"{name}: not a complete PNG; render or ingest this sample again")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) if picture.ndim == 3 else picture


def read_png(path: Path) -> np.ndarray:
    """Read one field of a folder dataset."""
    try:
        return decode_png(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise UsdError(f"{path}: not found; run the stage that makes it") from None


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def folder_digest(folder: Path, pattern: str = "*") -> str:
    """Hex digest of the files below a folder, their names included."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob(pattern) if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def read_json(path: Path) -> Any:
    """The value in a JSON file that a stage has written."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsdError(f"{path}: not readable ({error}); run the stage that makes it") from error


def read_manifest(root: Path) -> pd.DataFrame:
    """The manifest of a folder dataset, sorted by key."""
    try:
        return pd.read_parquet(root / MANIFEST)
    except FileNotFoundError:
        raise UsdError(f"{root / MANIFEST}: not found; run the stage that makes it") from None
    except (OSError, ValueError) as error:  # of which Arrow's errors are
        raise UsdError(f"{root / MANIFEST}: not a readable table ({error}); run the stage that makes it") from error


def write_manifest(rows: list[dict[str, object]], root: Path) -> None:
    """Write rows as the manifest, sorted by key so that its bytes do not depend on worker order."""
    frame = pd.DataFrame(rows).sort_values("key", ignore_index=True)
    frame.to_parquet(root / MANIFEST, index=False)


@contextmanager
def atomic_directory(target: Path) -> Iterator[Path]:
    """A scratch directory that takes the place of `target` if the block succeeds and vanishes if not."""
    scratch, earlier = (target.with_name(f".{target.name}.{what}") for what in ("partial", "earlier"))
    shutil.rmtree(scratch, ignore_errors=True)
    if earlier.exists() and not target.exists():  # killed between the two renames below
        earlier.rename(target)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        shutil.rmtree(earlier, ignore_errors=True)
        if target.exists():
            target.rename(earlier)
        scratch.rename(target)
    except FileNotFoundError as error:
        raise UsdError(f"{error.filename}: not found; run the stage that makes it") from error
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsdError(f"{target}: could not be written: {reason}; earlier outputs are kept") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(earlier, ignore_errors=True)


def atomic_write(target: Path, text: str | bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    scratch = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(text.encode() if isinstance(text, str) else text)
        os.replace(scratch, target)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise UsdError(f"{target}: could not be written: {error.strerror or error}") from error

"""The record: one sample on disk and in a shard, and the folder dataset with its manifest.

A folder dataset holds `<split>/<key>.<field>.png` and `manifest.parquet`, one row a sample.
A shard holds the same fields under the same names, and the caption as `<key>.txt`.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from usd.errors import UsdError

SPLITS = ("train", "val", "test")
RENDERED = ("image", "depth_mm", "class_id", "normal")  # the fields that a rendered scene brings

MANIFEST = "manifest.parquet"
COLUMNS = ("key", "split", "caption", "image_sha256")  # that every stage reads
EMPTY_REMEDY = "render or ingest samples, then run `dvc repro`"
AT_ONCE = 1024  # rows
FILES = 8  # of a sample


def field_path(root: Path, key: str, field: str) -> Path:
    """Where a folder dataset keeps a field of a sample; the key starts with its split."""
    return root / key.split("-")[0] / f"{key}.{field}.png"


def read_manifest(root: Path) -> pd.DataFrame:
    """The manifest of a folder dataset, sorted by key.

    Raises:
        UsdError: it is missing, is not a table of samples, or has no row.
    """
    path = root / MANIFEST
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise UsdError(f"{path}: not found; run the stage that makes it") from None
    except (OSError, ValueError) as error:  # of which Arrow's errors are
        raise UsdError(f"{path}: not a readable table ({error}); run the stage that makes it") from error
    if frame.empty:
        raise UsdError(f"{path}: no samples; {EMPTY_REMEDY}")
    if missing := [name for name in COLUMNS if name not in frame]:
        raise UsdError(f"{path}: no column '{missing[0]}'; run the stage that makes it")
    return frame


def write_manifest(rows: Iterable[dict[str, Any]], root: Path) -> None:
    """Write rows as the manifest, sorted by key so that its bytes do not depend on worker order.

    Raises:
        UsdError: there is no row.
    """
    table = compact(rows)
    if not len(table):
        raise UsdError(f"{root / MANIFEST}: no samples; {EMPTY_REMEDY}")
    pq.write_table(table.sort_by("key"), root / MANIFEST)


def records(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a table, a few at a time: all of them as dictionaries would take ten times its memory."""
    for start in range(0, len(frame), AT_ONCE):
        for row in frame.iloc[start : start + AT_ONCE].to_dict("records"):
            yield {str(name): value for name, value in row.items()}


def compact(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows as a table, of which only AT_ONCE are ever dictionaries; what a row lacks is null."""
    left = iter(rows)
    parts = []
    while part := list(islice(left, AT_ONCE)):
        table = pa.Table.from_pandas(pd.DataFrame(part), preserve_index=False)
        parts.append(table.replace_schema_metadata(None))
    return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})


def sample_bytes(root: Path, key: str) -> int:
    """About how many bytes all files of a sample have, judged by its image."""
    try:
        return FILES * field_path(root, key, "image").stat().st_size
    except FileNotFoundError as error:
        raise UsdError(f"{error.filename}: not found; run the stage that makes it") from None

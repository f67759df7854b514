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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from usd.errors import UsdError

SPLITS = ("train", "val", "test")
RENDERED = ("image", "depth_mm", "class_id", "normal")  # the fields that a rendered scene brings

MANIFEST = "manifest.parquet"
COLUMNS = ("key", "split", "caption", "image_sha256")  # that every stage reads
EMPTY_REMEDY = "render or ingest samples, then run `dvc repro`"
AT_ONCE = 1024  # rows
READ_AHEAD = 2**16  # bytes of a column
FILES = 8  # of a sample


def field_path(root: Path, key: str, field: str) -> Path:
    """Where a folder dataset keeps a field of a sample; the key starts with its split."""
    return root / key.split("-")[0] / f"{key}.{field}.png"


class Manifest:
    """The manifest of a folder dataset, of which only a few rows are in memory."""

    def __init__(self, root: Path) -> None:
        """Open it.

        Raises:
            UsdError: it is missing, is not a table of samples, or has no row.
        """
        self.path = root / MANIFEST
        try:
            self._file = pq.ParquetFile(self.path, buffer_size=READ_AHEAD)
            splits = self._file.read(columns=["split"])
        except FileNotFoundError:
            raise UsdError(f"{self.path}: not found; run the stage that makes it") from None
        except (OSError, ValueError) as error:  # of which Arrow's errors are
            raise UsdError(f"{self.path}: not a readable table ({error}); run the stage that makes it") from error
        if not len(self):
            raise UsdError(f"{self.path}: no samples; {EMPTY_REMEDY}")
        if missing := [name for name in COLUMNS if name not in self._file.schema_arrow.names]:
            raise UsdError(f"{self.path}: no column '{missing[0]}'; run the stage that makes it")
        counts = splits["split"].value_counts().to_pylist()
        self.splits: dict[str, int] = {each["values"]: each["counts"] for each in counts}

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The row of each sample, sorted by key; None where a sample has no value.

        Raises:
            UsdError: the rows are in another order.
        """
        last = ""
        for batch in self._file.iter_batches(AT_ONCE):
            for row in batch.to_pylist():
                if row["key"] < last:
                    raise UsdError(f"{self.path}: not sorted by key; run the stage that makes it")
                last = row["key"]
                yield row

    def table(self) -> pd.DataFrame:
        """All rows; about 2 kB of memory a sample."""
        return self._file.read().to_pandas()


def read_manifest(root: Path) -> pd.DataFrame:
    """The whole manifest of a folder dataset, sorted by key; about 2 kB of memory a sample.

    Raises:
        UsdError: it is missing, is not a table of samples, or has no row.
    """
    return Manifest(root).table()


def write_manifest(rows: Iterable[dict[str, Any]], root: Path) -> None:
    """Write rows as the manifest, sorted by key so that its bytes do not depend on worker order.

    Raises:
        UsdError: there is no row.
    """
    table = compact(rows)
    if not len(table):
        raise UsdError(f"{root / MANIFEST}: no samples; {EMPTY_REMEDY}")
    pq.write_table(in_order(table), root / MANIFEST)


def compact(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows as a table, of which only AT_ONCE are ever dictionaries; what a row lacks is null."""
    left = iter(rows)
    parts = []
    while part := list(islice(left, AT_ONCE)):
        table = pa.Table.from_pandas(pd.DataFrame(part), preserve_index=False)
        parts.append(table.replace_schema_metadata(None))
    return pa.concat_tables(parts, promote_options="permissive") if parts else pa.table({})


def in_order(table: pa.Table) -> pa.Table:
    """The rows sorted by key; as they are, without a copy, if they come so."""
    keys = table["key"]
    return table if pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py() in (True, None) else table.sort_by("key")


def sample_bytes(root: Path, key: str) -> int:
    """About how many bytes all files of a sample have, judged by its image."""
    try:
        return FILES * field_path(root, key, "image").stat().st_size
    except FileNotFoundError as error:
        raise UsdError(f"{error.filename}: not found; run the stage that makes it") from None

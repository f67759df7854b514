"""The record: one sample on disk and in a shard, and the folder dataset with its manifest.

A folder dataset holds `<split>/<key>.<field>.png` and `manifest.parquet`, one row a sample.
A shard holds the same fields under the same names, and the caption as `<key>.caption.txt`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from usd.errors import UsdError
from usd.files import read_file, sha256

SPLITS = ("train", "val", "test")
RENDERED = ("image", "depth_mm", "class_id", "normal")  # the fields that a rendered scene brings
TRUTH = {"depth": "depth_mm", "seg": "class_id"}  # map → the one of them that it is made from

MANIFEST = "manifest.parquet"
TEXTS = ("key", "split", "image_sha256", "caption")  # columns of text; only a caption may be missing
COLUMNS = (*TEXTS, "seed")  # that every stage reads
EMPTY_REMEDY = "render or ingest samples, then run `dvc repro`"
AT_ONCE = 1024  # rows
GROUP = 4 * AT_ONCE  # rows of a row group
PAGE = 2**16  # bytes of a column that are read together
FILES_PER_SAMPLE = 8  # about


def field_path(root: Path, key: str, field: str) -> Path:
    """Where a folder dataset keeps a field of a sample; the key starts with its split."""
    return root / key.split("-")[0] / f"{key}.{field}.png"


def read_field(root: Path, row: Mapping[str, Any], field: str) -> bytes:
    """The file of a field, which must be as its row of the manifest says.

    Raises:
        UsdError: it is missing, not readable or was changed.
    """
    path = field_path(root, str(row["key"]), field)
    data = read_file(path)
    if sha256(data) != row[f"{field}_sha256"]:
        raise UsdError(f"{path}: differs from the manifest; run the stage that makes it, or `usd ingest`")
    return data


class Manifest:
    """The manifest of a folder dataset, of which only a few rows are in memory."""

    def __init__(self, root: Path) -> None:
        """Open it.

        Raises:
            UsdError: it is missing, is not a table of samples, or has no row.
        """
        self.path = root / MANIFEST
        try:
            self._file = pq.ParquetFile(self.path, buffer_size=PAGE)
            splits = self._file.read(columns=["split"])
        except FileNotFoundError:
            raise UsdError(f"{self.path}: not found; run the stage that makes it") from None
        except (OSError, ValueError) as error:  # of which Arrow's errors are
            raise UsdError(f"{self.path}: not a readable table ({error}); run the stage that makes it") from error
        if not len(self):
            raise UsdError(f"{self.path}: no samples; {EMPTY_REMEDY}")
        if missing := [name for name in COLUMNS if name not in self._file.schema_arrow.names]:
            raise UsdError(f"{self.path}: no column '{missing[0]}'; run the stage that makes it")
        for name in TEXTS:
            kind = self._file.schema_arrow.field(name).type
            empty = pa.types.is_null(kind) and name == "caption"
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or empty):
                raise UsdError(f"{self.path}: column '{name}' is {kind}, not text; run the stage that makes it")
        self._check_complete(splits)
        counts = splits["split"].value_counts().to_pylist()
        self.splits: dict[str, int] = {each["values"]: each["counts"] for each in counts}

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The row of each sample, sorted by key; None where a sample has no value.

        Raises:
            UsdError: they are not readable, in another order, or lack what every sample has.
        """
        last = ""
        for batch in self._batches():
            self._check_complete(batch)
            for row in batch.to_pylist():
                if row["key"] < last:
                    raise UsdError(f"{self.path}: not sorted by key; run the stage that makes it")
                last = row["key"]
                yield row

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            for group in range(self._file.num_row_groups):  # one reader of all groups would keep what it has read
                yield from self._file.iter_batches(AT_ONCE, row_groups=[group])
        except (OSError, ValueError) as error:
            raise UsdError(f"{self.path}: not a readable table ({error}); run the stage that makes it") from error

    def _check_complete(self, part: pa.RecordBatch | pa.Table) -> None:
        """Refuse rows without a key, a split or the digest of the image."""
        for name in TEXTS[:-1]:
            if name in part.schema.names and part.column(name).null_count:
                raise UsdError(f"{self.path}: a sample without '{name}'; run the stage that makes it")

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

    They go to a temporary file first, since the last one may bring a new column. All are in memory at once only if they
    come unsorted.

    Raises:
        UsdError: there is no row.
    """
    with TemporaryFile(dir=root) as file:
        schema, ascending = _spool(rows, file)
        if not schema.names:
            raise UsdError(f"{root / MANIFEST}: no samples; {EMPTY_REMEDY}")
        file.seek(0)
        parts, empty = _spooled(file), schema.empty_table()
        with pq.ParquetWriter(root / MANIFEST, schema, use_dictionary=["split"], data_page_size=PAGE) as writer:
            while some := list(islice(parts, GROUP // AT_ONCE if ascending else None)):
                table = pa.concat_tables([empty, *some], promote_options="permissive")
                writer.write_table(table if ascending else table.sort_by("key"), GROUP)


def _spool(rows: Iterable[dict[str, Any]], file: IO[bytes]) -> tuple[pa.Schema, bool]:
    """Write rows to a file, AT_ONCE at a time; returns all columns that any row has, and whether the keys ascend."""
    left, schema, last, ascending = iter(rows), pa.schema([]), "", True
    while some := list(islice(left, AT_ONCE)):
        part = pa.Table.from_pandas(pd.DataFrame(some), preserve_index=False).replace_schema_metadata(None)
        with pa.ipc.new_stream(file, part.schema) as stream:
            stream.write_table(part)
        schema = pa.unify_schemas([schema, part.schema], promote_options="permissive")
        keys = [last, *(row["key"] for row in some)]
        ascending, last = ascending and keys == sorted(keys), keys[-1]
    return schema, ascending


def _spooled(file: IO[bytes]) -> Iterator[pa.Table]:
    """What `_spool` wrote, a table for each AT_ONCE rows."""
    while file.peek(1):  # type: ignore[attr-defined]
        yield pa.ipc.open_stream(file).read_all()


def sample_hash(key: str, split: str, caption: str, digests: Mapping[str, str]) -> bytes:
    """The digest of a sample: of what its rows say, and of its files by their names, such as "scenes/image"."""
    return hashlib.sha256(json.dumps([key, split, caption, digests], sort_keys=True).encode()).digest()


def data_digest(hashes: Iterable[bytes]) -> str:
    """The digest of samples, in the order of their keys."""
    found = hashlib.sha256()
    for number, each in enumerate(hashes):
        found.update(f"\n{each.hex()}".encode() if number else each.hex().encode())
    return found.hexdigest()


def sample_bytes(root: Path, key: str) -> int:
    """About how many bytes all files of a sample have, judged by its image."""
    try:
        return FILES_PER_SAMPLE * field_path(root, key, "image").stat().st_size
    except FileNotFoundError as error:
        raise UsdError(f"{error.filename}: not found; run the stage that makes it") from None

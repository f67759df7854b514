"""Stage `shard`'s work: samples into tar files, byte-identical, with their rows of the index and sums of their maps."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import webdataset as wds

from usd.data.index import ShardFile, schema
from usd.data.record import read_field
from usd.files import sha256
from usd.images import decode_png
from usd.tasks import FIELDS, MAPS


@dataclass(frozen=True)
class Packing:
    """One shard to pack."""

    path: Path
    number: int  # among its split's
    rows: list[dict[str, Any]]  # of the manifest
    scenes: Path
    annotated: Path
    sums: bool  # whether to add up the maps


@dataclass(frozen=True)
class Packed:
    """One shard that has been packed."""

    shard: ShardFile
    rows: pa.RecordBatch  # of the index
    sums: dict[str, np.ndarray]  # (H, W, 3) uint64, by map


def pack(job: Packing) -> Packed:
    """Pack a shard."""
    buffer = io.BytesIO()
    sums: dict[str, np.ndarray] = {}
    with wds.TarWriter(buffer, mtime=0, encoder=False) as tar:
        for row in job.rows:
            key = str(row["key"])
            folders = {field: job.scenes if field == "image" else job.annotated for field in FIELDS}
            files = {field: read_field(folder, row, field) for field, folder in folders.items()}
            pictures = {f"{field}.png": data for field, data in files.items()}
            tar.write({"__key__": key, "caption.txt": str(row["caption"]).encode(), **pictures})
            for name in MAPS if job.sums else ():
                picture = decode_png(files[name], f"{key}.{name}.png").astype(np.uint64)
                sums[name] = sums[name] + picture if name in sums else picture
    data = buffer.getvalue()
    job.path.write_bytes(data)
    shard = ShardFile(job.path.name, len(data), sha256(data), len(job.rows))
    return Packed(shard, _rows(buffer, job), sums)


def _rows(buffer: io.BytesIO, job: Packing) -> pa.RecordBatch:
    """The index of a tar file, read from its headers."""
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        extents = {member.name: (member.offset_data, member.size) for member in tar}
    columns: dict[str, list[Any]] = {name: [] for name in schema().names}
    for row in job.rows:
        columns["key"].append(str(row["key"]))
        columns["caption"].append(str(row["caption"]))
        columns["shard"].append(job.number)
        for field in FIELDS:
            offset, length = extents[f"{row['key']}.{field}.png"]
            columns[f"{field}.offset"].append(offset)
            columns[f"{field}.length"].append(length)
    return pa.RecordBatch.from_pydict(columns, schema())

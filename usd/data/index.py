"""The index of a folder of shards: which bytes of which tar file hold a field of a sample.

`index.json` lists the shards of each split with size and digest. `<split>.arrow` has a row a sample, sorted by key:
the key, the caption, the number of its shard, and offset and length of each field; it is memory-mapped, so that
opening it takes no longer with more samples. `<split>.wids.json` lists the shards as the library `wids` reads them.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa

from usd.data.storage import Root, read_bytes
from usd.errors import UsdError
from usd.files import sha256
from usd.tasks import FIELDS

INDEX = "index.json"
MEANS = "means.safetensors"  # the mean map of the training split, for every map
SUFFIX = {field: f".{field}.png\0".encode() for field in FIELDS}  # of a name in a tar file
FORMAT = 2
PACK_AGAIN = "run `dvc repro shard`"
MORE_SAMPLES = "render or ingest samples"


@dataclass(frozen=True)
class File:
    """A file as it was made."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardFile(File):
    """A tar file of samples as it was made."""

    samples: int


Known = TypeVar("Known", bound=File)


@dataclass(frozen=True)
class Index:
    """What `index.json` says."""

    splits: dict[str, list[ShardFile]]
    files: list[File]  # the tables, and what else stands beside the shards

    @property
    def shards(self) -> list[ShardFile]:
        """Those of all splits."""
        return [shard for shards in self.splits.values() for shard in shards]

    @property
    def digest(self) -> str:
        """The digest of the samples, as they are packed."""
        splits = {split: [asdict(shard) for shard in shards] for split, shards in self.splits.items()}
        return sha256(json.dumps(splits, sort_keys=True).encode())


def table_name(split: str) -> str:
    """The file with a split's rows."""
    return f"{split}.arrow"


def described(path: Path) -> File:
    """A file's name, size and digest."""
    data = path.read_bytes()
    return File(path.name, len(data), sha256(data))


def table(rows: Iterable[pa.RecordBatch]) -> pa.Table:
    """One table, in one piece, of the rows of a split's shards."""
    return pa.Table.from_batches(rows, schema()).combine_chunks()


def schema() -> pa.Schema:
    """The columns of a table."""
    columns = [("key", pa.large_string()), ("caption", pa.large_string()), ("shard", pa.uint32())]
    for field in FIELDS:
        columns += [(f"{field}.offset", pa.uint64()), (f"{field}.length", pa.uint32())]
    return pa.schema(columns)


def write_table(rows: pa.Table, path: Path) -> None:
    """Write a split's rows so that they can be memory-mapped."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=max(1, len(rows)))


def write_index(root: Path, splits: dict[str, list[ShardFile]]) -> None:
    """Write `index.json` over the files that are in `root`, and an index for `wids` a split."""
    for split, shards in splits.items():
        listed = [{"url": s.name, "nsamples": s.samples, "filesize": s.bytes, "sha256": s.sha256} for s in shards]
        wids = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": split, "shardlist": listed}
        (root / f"{split}.wids.json").write_text(json.dumps(wids, indent=1) + "\n")
    beside = [described(path) for path in sorted((*root.glob("*.arrow"), *root.glob("*.wids.json"), root / MEANS))]
    index = {"format": FORMAT, **asdict(Index(splits, beside))}
    (root / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


def read_index(root: Root) -> Index:
    """The index of a folder or URL.

    Raises:
        UsdError: there is none, it is of another format, or it has no samples or an empty split.
    """
    try:
        found = json.loads(read_bytes(f"{root}/{INDEX}"))
    except (UsdError, ValueError) as error:
        raise UsdError(f"{root}: no readable index ({error}); {PACK_AGAIN}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise UsdError(f"{root}: shards without offsets, as an earlier version packed them; {PACK_AGAIN}")
    try:
        splits = {split: [_checked(ShardFile(**each)) for each in shards] for split, shards in found["splits"].items()}
        files = [_checked(File(**file)) for file in found["files"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsdError(f"{root}: no readable index ({type(error).__name__}: {error}); {PACK_AGAIN}") from error
    for split, shards in splits.items():
        if not sum(shard.samples for shard in shards):
            raise UsdError(f"{root}: split '{split}' is empty; {MORE_SAMPLES} for it, then {PACK_AGAIN}")
    if not splits:
        raise UsdError(f"{root}: no samples; {MORE_SAMPLES}, then {PACK_AGAIN}")
    return Index(splits, files)


def _checked(file: Known) -> Known:
    """`file` itself, after a check that each value has its field's type.

    Raises:
        TypeError: one is not.
    """
    for each in fields(file):
        if type(getattr(file, each.name)) is not each.type:
            raise TypeError(f"{each.name} is not {getattr(each.type, '__name__', each.type)}")
    return file


def _numbers(column: pa.Array, kind: Literal["I", "Q"]) -> memoryview:
    """A column without a copy; three times as fast as a NumPy array where one number is asked for."""
    return memoryview(column.buffers()[1]).cast(kind)[: len(column)]


class _Text:
    """The strings of a column, as UTF-8; ten times as fast as Arrow's scalars."""

    def __init__(self, column: pa.LargeStringArray) -> None:
        _, offsets, data = column.buffers()
        self._offsets = memoryview(offsets).cast("q")[: len(column) + 1]
        self._data = memoryview(data or b"")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> bytes:
        return self._data[self._offsets[number] : self._offsets[number + 1]].tobytes()


class Rows:
    """A split's table, memory-mapped. Rows have the numbers 0 … len(rows) - 1, in the order of their keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            batch = file.get_batch(0) if file.num_record_batches else None
        except (OSError, pa.ArrowInvalid) as error:
            raise UsdError(f"{path}: not a readable index ({error}); {PACK_AGAIN}") from error
        if not batch:
            raise UsdError(f"{path}: no samples; {MORE_SAMPLES}, then {PACK_AGAIN}")
        if batch.schema.names != schema().names:
            raise UsdError(f"{path}: has other fields than {', '.join(FIELDS)}; {PACK_AGAIN}")
        self._keys, self._captions = _Text(batch.column("key")), _Text(batch.column("caption"))
        self.shard = np.asarray(_numbers(batch.column("shard"), "I"))
        self._offsets = {field: _numbers(batch.column(f"{field}.offset"), "Q") for field in FIELDS}
        self._lengths = {field: _numbers(batch.column(f"{field}.length"), "I") for field in FIELDS}

    def __reduce__(self) -> tuple[type["Rows"], tuple[Path]]:
        return Rows, (self.path,)  # a worker process maps the file itself

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, number: int) -> str:
        """The key of a row."""
        return self._keys[number].decode()

    def key_bytes(self, number: int) -> bytes:
        """The same as UTF-8."""
        return self._keys[number]

    def caption(self, number: int) -> str:
        """The caption of a row."""
        return self._captions[number].decode()

    def extent(self, number: int, field: str) -> tuple[int, int]:
        """Offset and length of a field in its shard, in bytes."""
        return self._offsets[field][number], self._lengths[field][number]

    def number(self, key: str) -> int:
        """The row of a key, -1 if there is none."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.key(middle) < key else (low, middle)
        return low if low < len(self) and self.key(low) == key else -1

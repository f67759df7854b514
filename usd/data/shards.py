"""The samples of a folder or URL of shards, by key or in the order of their keys."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from usd.data.index import INDEX, MEANS, REMEDY, Index, Rows, Shard, read_index, table_name
from usd.data.integrity import check, state
from usd.data.ranges import Extent, Reader
from usd.data.storage import Root, is_remote, read_bytes, write_bytes
from usd.errors import UsdError
from usd.files import atomic_write, sha256
from usd.images import decode_png
from usd.tasks import MAPS

HEADER = 512  # bytes of a tar header, which stands before the file
NAME = 100  # bytes of a name in it
AT_ONCE = 64  # samples that are read together where all are wanted


@dataclass(frozen=True)
class Wanted:
    """A field of a sample, by the number of its row."""

    number: int
    field: str


class Split:
    """The samples of one split, sorted by key."""

    def __init__(self, root: Root, name: str, shards: Sequence[Shard], rows: Rows) -> None:
        self.root, self.name, self.rows = root, name, rows
        self._urls = [f"{root}/{shard.name}" for shard in shards]
        self._header = 0 if is_remote(root) else HEADER  # over the network it would be a tenth more to fetch
        self._reader = Reader()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def keys(self) -> list[str]:
        """All keys, in order."""
        return [self.rows.key(number) for number in range(len(self))]

    def caption(self, key: str) -> str:
        """What a sample shows."""
        return self.rows.caption(self.number(key))

    def captions(self) -> Iterator[str]:
        """The caption of each sample, in order of their keys."""
        return (self.rows.caption(number) for number in range(len(self)))

    def pictures(self, keys: Sequence[str], field: str) -> np.ndarray:
        """A field of the samples of these keys, (N, H, W, 3) uint8.

        Raises:
            UsdError: the split has no such key, or the shard is damaged.
        """
        return np.stack(self.decoded([Wanted(self.number(key), field) for key in keys]))

    def decoded(self, wanted: Sequence[Wanted]) -> list[np.ndarray]:
        """Fields as pictures, (H, W, 3) uint8 each."""
        return [self.decode(each, data) for each, data in zip(wanted, self.read(wanted), strict=True)]

    def iterate(self, fields: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """These fields of every sample exactly once, as pictures, in order of the keys."""
        for start in range(0, len(self), AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, len(self)))
            pictures = iter(self.decoded([Wanted(number, field) for number in numbers for field in fields]))
            for _ in numbers:
                yield {field: next(pictures) for field in fields}

    def number(self, key: str) -> int:
        """The number of a key's row."""
        found = self.rows.number(key)
        if found < 0:
            raise UsdError(f"{self.root}: split '{self.name}' has no sample '{key}'; {REMEDY}")
        return found

    def read(self, wanted: Sequence[Wanted]) -> list[bytes]:
        """Fields as they are stored, which is as PNG; only their bytes are read.

        Raises:
            UsdError: a shard ends before a field of it, or has another file where the index says that it is.
        """
        extents = [self._extent(each) for each in wanted]
        try:
            found = self._reader.read(extents)
        except OSError as error:
            raise UsdError(f"{error.filename or self.root}: {error.strerror or error}; {REMEDY}") from error
        for each, extent, data in zip(wanted, extents, found, strict=True):
            if len(data) != extent.length:
                raise UsdError(f"{self._place(each)} is cut off; the shard is damaged, {REMEDY}")
            if self._header:
                self._check_header(each, data)
        return [data[self._header :] for data in found]

    def decode(self, wanted: Wanted, data: bytes) -> np.ndarray:
        """The picture of a field's bytes."""
        try:
            return decode_png(data, wanted.field)
        except UsdError:
            raise UsdError(f"{self._place(wanted)} does not decode; the shard is damaged, {REMEDY}") from None

    def _extent(self, wanted: Wanted) -> Extent:
        offset, length = self.rows.extent(wanted.number, wanted.field)
        return Extent(self._urls[self.rows.shard[wanted.number]], offset - self._header, length + self._header)

    def _check_header(self, wanted: Wanted, data: bytes) -> None:
        """Compare the name in a file's header with what the index says is there."""
        name = f"{self.rows.key(wanted.number)}.{wanted.field}.png".encode()
        if data.startswith(name + b"\0") or len(name) >= NAME or not name.isascii():  # those have another header
            return
        found = data[:NAME].rstrip(b"\0").decode(errors="replace")
        raise UsdError(f"{self._place(wanted)} is not there but '{found}'; shard and index differ, {REMEDY}")

    def _place(self, wanted: Wanted) -> str:
        url = self._urls[self.rows.shard[wanted.number]]
        return f"{url}: {self.rows.key(wanted.number)}.{wanted.field}.png"


class Shards:
    """What stage `shard` has packed, here or at a URL. Use `Shards.open`, which checks it."""

    def __init__(self, root: Root, index: Index) -> None:
        self.root, self.digest = root, index.digest
        self.splits = {split: Split(root, split, of, _rows(root, index, split)) for split, of in index.splits.items()}

    @classmethod
    def open(cls, root: Root) -> "Shards":
        """Check the files in `root` against their index and open it; files that have not changed are not read again.

        Raises:
            UsdError: there is no index, or a file is missing or damaged.
        """
        root = str(root).rstrip("/")
        index = read_index(root)
        check(root, (*index.shards, *index.files))
        return cls(root, index)

    def __getitem__(self, split: str) -> Split:
        if split not in self.splits:
            raise UsdError(f"{self.root}: no split '{split}'; {REMEDY}")
        return self.splits[split]

    def mean_maps(self) -> dict[str, np.ndarray]:
        """The mean of each map over the training split, (H, W, 3) float32 in [0, 1]."""
        from safetensors.numpy import load

        found = load(read_bytes(f"{self.root}/{MEANS}"))
        return {name: found[name] for name in MAPS}


def _rows(root: Root, index: Index, split: str) -> Rows:
    """A split's rows; those of a URL are fetched once, and kept below `.usd/`."""
    name = table_name(split)
    if not is_remote(root):
        return Rows(Path(root) / name)
    digest = next(file.sha256 for file in index.files if file.name == name)
    kept = state() / "index" / f"{digest}.arrow"
    if not kept.exists():
        data = read_bytes(f"{root}/{name}")
        if sha256(data) != digest:
            raise UsdError(f"{root}/{name}: damaged (sha256 differs from {INDEX}); upload the shards again")
        atomic_write(kept, data)
    return Rows(kept)


def upload(root: Path, url: str) -> None:
    """Copy shards to an object storage, the index last: at a new URL, readers see all of them or none."""
    from rich.progress import track

    Shards.open(root)
    index = read_index(root)
    url = url.rstrip("/")
    for file in track([*index.shards, *index.files], description="upload"):
        write_bytes(f"{url}/{file.name}", (root / file.name).read_bytes())
    write_bytes(f"{url}/{INDEX}", (root / INDEX).read_bytes())

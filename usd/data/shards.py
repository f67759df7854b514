"""The samples of a folder or URL of shards, by key or in the order of their keys."""

import os
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from usd.data.index import INDEX, MEANS, PACK_AGAIN, SUFFIX, Index, Rows, ShardFile, read_index, table_name
from usd.data.integrity import KEPT, check
from usd.data.ranges import Extent, OpenFiles, fetch
from usd.data.storage import Root, is_remote, read_bytes, write_bytes
from usd.errors import UsdError
from usd.files import atomic_write, lasting, sha256
from usd.images import decode_png
from usd.tasks import MAPS

HEADER = 512  # bytes of a tar header, which stands before the file
NAME = 100  # bytes of a name in it


class Wanted(NamedTuple):
    """Fields of a sample, by the number of its row."""

    number: int
    fields: tuple[str, ...]


class Split:
    """The samples of one split, sorted by key."""

    def __init__(self, root: Root, name: str, shards: Sequence[ShardFile], rows: Rows) -> None:
        self.root, self.name, self.rows = root, name, rows
        self._urls = [f"{root}/{shard.name}" for shard in shards]
        self._files = OpenFiles()

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
        wanted = [Wanted(self.number(key), (field,)) for key in keys]
        return np.stack([pictures[field] for pictures in self.decoded(wanted)])

    def decoded(self, wanted: Sequence[Wanted]) -> Iterator[dict[str, np.ndarray]]:
        """The wanted fields of each sample as pictures, (H, W, 3) uint8 each."""
        return map(self.decode, wanted, self.read(wanted))

    def number(self, key: str) -> int:
        """The number of a key's row."""
        found = self.rows.number(key)
        if found < 0:
            raise UsdError(f"{self.root}: split '{self.name}' has no sample '{key}'; {PACK_AGAIN}")
        return found

    def read(self, wanted: Sequence[Wanted]) -> list[list[bytes]]:
        """The wanted fields of each sample as they are stored, which is as PNG; only their bytes are read.

        Raises:
            UsdError: a shard ends before a field of it, or has another file where the index says that it is.
        """
        try:
            return self._fetched(wanted) if is_remote(self.root) else [self._read(each) for each in wanted]
        except OSError as error:
            raise UsdError(f"{error.filename or self.root}: {error.strerror or error}; {PACK_AGAIN}") from error

    def each(self, wanted: Sequence[Wanted]) -> Iterator[list[bytes]]:
        """The same, read one sample at a time, so that its bytes are in the processor's cache when it is decoded."""
        for one in wanted:
            yield from self.read([one])

    def decode(
        self, wanted: Wanted, data: Sequence[bytes], into: Sequence[np.ndarray] | np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """The pictures of a sample's fields, (H, W, 3) uint8 each, in the memory of `into` if that is given.

        Raises:
            UsdError: one is damaged, or has another size than its place.
        """
        places = repeat(None, len(data)) if into is None else into
        parts = zip(wanted.fields, data, places, strict=True)
        return {field: self._picture(wanted, field, part, place) for field, part, place in parts}

    def _picture(self, wanted: Wanted, field: str, data: bytes, out: np.ndarray | None) -> np.ndarray:
        try:
            picture = decode_png(data, field, out)
        except UsdError:
            raise UsdError(
                f"{self._place(wanted, field)} does not decode; the shard is damaged, {PACK_AGAIN}"
            ) from None
        if out is not None and picture is not out:
            raise UsdError(f"{self._place(wanted, field)} is {picture.shape}, but others {out.shape}; {PACK_AGAIN}")
        return picture

    def _read(self, wanted: Wanted) -> list[bytes]:
        """Fields of a shard on this machine, each with the header before it, which must have its name."""
        rows, number, found = self.rows, wanted.number, []
        file, key = self._files.descriptor(self._urls[rows.shard[number]]), rows.key_bytes(number)
        for field in wanted.fields:
            start, length = rows.extent(number, field)
            data = os.pread(file, length + HEADER, start - HEADER)
            if len(data) != length + HEADER:
                raise self._cut_off(wanted, field)
            if not data.startswith(key + SUFFIX[field]):
                self._check_name(wanted, field, data[:NAME].rstrip(b"\0"))
            found.append(data[HEADER:])
        return found

    def _check_name(self, wanted: Wanted, field: str, found: bytes) -> None:
        """Raise if another sample is there; a name that is long or not ASCII stands elsewhere in a header."""
        name = f"{self.rows.key(wanted.number)}.{field}.png"
        if len(name) < NAME and name.isascii():
            other = found.decode(errors="replace")
            raise UsdError(
                f"{self._place(wanted, field)} is not there but '{other}'; shard and index differ, {PACK_AGAIN}"
            )

    def _fetched(self, wanted: Sequence[Wanted]) -> list[list[bytes]]:
        """Fields from object storage, without headers: a tenth less to fetch."""
        places = [(each, field) for each in wanted for field in each.fields]
        urls = [self._urls[self.rows.shard[each.number]] for each, _ in places]
        extents = [
            Extent(url, *self.rows.extent(w.number, field)) for url, (w, field) in zip(urls, places, strict=True)
        ]
        found = fetch(extents)
        for (each, field), extent, data in zip(places, extents, found, strict=True):
            if len(data) != extent.length:
                raise self._cut_off(each, field)
        parts = iter(found)
        return [[next(parts) for _ in each.fields] for each in wanted]

    def _cut_off(self, wanted: Wanted, field: str) -> UsdError:
        return UsdError(f"{self._place(wanted, field)} is cut off; the shard is damaged, {PACK_AGAIN}")

    def _place(self, wanted: Wanted, field: str) -> str:
        return f"{self._urls[self.rows.shard[wanted.number]]}: {self.rows.key(wanted.number)}.{field}.png"


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
            raise UsdError(f"{self.root}: no split '{split}'; {PACK_AGAIN}")
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
    kept = lasting(KEPT) / "index" / f"{digest}.arrow"
    if not kept.exists():
        data = read_bytes(f"{root}/{name}")
        if sha256(data) != digest:
            raise UsdError(f"{root}/{name}: damaged (sha256 differs from the index); upload the shards again")
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

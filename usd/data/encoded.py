"""What a base's encoders say of the samples, computed once: columns beside the shards, written by `usd encode`.

For each shard `train-0000.tar` there are two NumPy files in half precision, with a row per sample, in its order:

    train-0000.latents.npy  (N, F, 2, C, h, w)   latents of the image and of each trained map, as it is and mirrored
    train-0000.text.npy     (N + M, L, D)        text states of the caption; then those of the mirrored picture's
                                                 caption, for the M samples in which left and right change places

`prompts.npy` (P, L, D) has the text states of the maps' prompts, and `encoded.json` says whose they are. Rows have a
fixed size, so that a row is one `pread` or one range request. The shards themselves stay as they are: their digest
does not depend on a base, and several bases can have columns of the same shards.
"""

import io
import json
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from usd.data.index import File
from usd.data.integrity import check
from usd.data.ranges import Extent, OpenFiles, fetch
from usd.data.shards import Split
from usd.data.storage import Root, is_remote, read_bytes
from usd.errors import UsdError
from usd.tasks import MAPS

INDEX = "encoded.json"
PROMPTS = "prompts.npy"
ENCODED_FIELDS = ("image", *(name for name, row in MAPS.items() if row.trained))
HEADER = 128  # bytes of a .npy file before its values
TYPE = np.dtype(np.float16)
ENCODE_AGAIN = "run `usd encode` again, with another folder"


@dataclass(frozen=True)
class EncodedIndex:
    """What `encoded.json` says of the columns."""

    base: str  # digest
    data: str  # digest of the shards
    latents: list[int]  # (C, h, w)
    text: list[int]  # (L, D)
    prompts: list[str]
    shards: dict[str, list[str]]  # names without ending, by split
    mirrored: dict[str, list[int]]  # shard → the samples in it that have a second caption, in order
    files: list[dict[str, Any]]  # each a `File`


@dataclass(frozen=True)
class LatentKey:
    """Which latents: a field of the sample in row `number`, as it is or mirrored."""

    number: int
    field: str
    mirrored: bool


class Encoded:
    """The columns of one split."""

    def __init__(self, root: Root, split: Split, columns: EncodedIndex) -> None:
        self._root, self._columns, self._files = root, columns, OpenFiles()
        self._names, self._shard = columns.shards[split.name], split.rows.shard
        self._first = np.searchsorted(self._shard, np.arange(len(self._names)))  # the number of each shard's first row
        states = np.load(io.BytesIO(read_bytes(f"{root}/{PROMPTS}")))
        self._prompts = dict(zip(columns.prompts, states, strict=True))

    @classmethod
    def open(cls, root: Root, split: Split, base: str, data: str) -> "Encoded":
        """Check the columns and open those of a split.

        Args:
            base: digest of the base that trains on them.
            data: digest of the shards.

        Raises:
            UsdError: they are missing, damaged, or of another base or of other shards.
        """
        root = str(root).rstrip("/")
        columns = read_encoded(root)
        for name, found, wanted in (("another base", columns.base, base), ("other shards", columns.data, data)):
            if found != wanted:
                raise UsdError(f"{root}: encoded from {name} than this training's; {ENCODE_AGAIN}")
        check(root, [File(**file) for file in columns.files], ENCODE_AGAIN)
        return cls(root, split, columns)

    def latents(self, pictures: Sequence[LatentKey]) -> np.ndarray:
        """The latents (B, C, h, w) of pictures, float16."""
        places = [
            (self._row(picture.number) * len(ENCODED_FIELDS) + ENCODED_FIELDS.index(picture.field)) * 2
            + picture.mirrored
            for picture in pictures
        ]
        return self._read("latents", self._columns.latents, [picture.number for picture in pictures], places)

    def text(self, numbers: Sequence[int], prompts: Sequence[str | None], mirrored: Sequence[bool]) -> np.ndarray:
        """Text states (B, L, D), float16: of a map's prompt, or of the sample's caption where the prompt is None.

        `mirrored` says of which samples the picture is mirrored, and so the caption.
        """
        wanted = list(zip(numbers, prompts, mirrored, strict=True))
        captioned = [number for number, prompt, _ in wanted if prompt is None]
        places = [self._caption(number, flipped) for number, prompt, flipped in wanted if prompt is None]
        states = iter(self._read("text", self._columns.text, captioned, places))
        return np.stack([next(states) if prompt is None else self._prompts[prompt] for prompt in prompts])

    def _row(self, number: int) -> int:
        """The place of a sample in its shard."""
        return int(number - self._first[self._shard[number]])

    def _caption(self, number: int, mirrored: bool) -> int:
        """The row of a caption's text states in its shard."""
        shard, row = int(self._shard[number]), self._row(number)
        second = self._columns.mirrored[self._names[shard]]
        place = bisect_left(second, row)
        if not mirrored or place == len(second) or second[place] != row:
            return row
        return int(np.searchsorted(self._shard, shard, "right") - self._first[shard]) + place

    def _read(self, column: str, shape: Sequence[int], numbers: Sequence[int], places: Sequence[int]) -> np.ndarray:
        """Values of `shape`: the `places`-th in the column of each sample's shard."""
        size = prod(shape) * TYPE.itemsize
        extents = []
        for number, place in zip(numbers, places, strict=True):
            name = self._names[self._shard[number]]
            extents.append(Extent(f"{self._root}/{name}.{column}.npy", HEADER + place * size, size))
        if is_remote(self._root):
            data = fetch(extents)
        else:
            data = [os.pread(self._files.descriptor(url), length, start) for url, start, length in extents]
        return np.frombuffer(b"".join(data), TYPE).reshape(len(extents), *shape)


def read_encoded(root: Root) -> EncodedIndex:
    """What `encoded.json` says.

    Raises:
        UsdError: there is none, as the folder is not complete or is something else.
    """
    try:
        return EncodedIndex(**json.loads(read_bytes(f"{root}/{INDEX}")))
    except (UsdError, ValueError, TypeError) as error:
        raise UsdError(f"{root}: no readable {INDEX} ({error}); run `usd encode`") from error

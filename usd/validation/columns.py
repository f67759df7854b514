"""Columns that grow row by row: no row is kept as objects of Python, whose memory is several times as large."""

import ctypes
import platform
from array import array
from collections.abc import Iterable, Iterator, Mapping
from math import nan
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

MMAP_THRESHOLD = -3  # of glibc's `mallopt`
LARGE = 2**16  # bytes
Row = TypeVar("Row")


def compactly(rows: Iterable[Row]) -> Iterator[Row]:
    """The same rows, for which this process keeps its memory compact from the first one on.

    On Linux, blocks of LARGE bytes or more get pages of their own, where they can grow. By itself glibc soon raises
    this bound to up to 32 MB, and columns leave a hole wherever they outgrow their place. Processes that were forked
    for the rows do not inherit it: their pictures would take half as long again.
    """
    for number, row in enumerate(rows):
        if not number and platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)
        yield row


class Numbers:
    """Numbers of a type of `array`; one that is missing is NaN."""

    def __init__(self, kind: str) -> None:
        self._values: array[Any] = array(kind)

    def append(self, value: float | None) -> None:
        """Add one."""
        self._values.append(nan if value is None else value)

    def series(self) -> "pd.Series[float]":
        """All of them, without a copy."""
        return pd.Series(np.frombuffer(self._values, self._values.typecode), copy=False)


class Texts:
    """Strings or bytes; one that is missing is null."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._data, self._ends, self._known = bytearray(), array("q", [0]), bytearray()

    def append(self, value: str | bytes | None) -> None:
        """Add one."""
        self._data += value.encode() if isinstance(value, str) else value or b""
        self._ends.append(len(self._data))
        self._known.append(value is not None)

    def series(self) -> "pd.Series[Any]":
        """All of them, without a copy."""
        known = np.packbits(np.frombuffer(self._known, np.uint8), bitorder="little")
        buffers = [pa.py_buffer(part) for part in (known, self._ends, self._data)]
        whole = pa.Array.from_buffers(self._kind, len(self._known), buffers)
        if pa.types.is_large_string(self._kind):
            return whole.to_pandas()
        return pd.Series(pd.arrays.ArrowExtensionArray(whole), copy=False)


class Labels:
    """Strings of which few differ; one that is missing is null."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._codes = array("i")

    def append(self, value: str | None) -> None:
        """Add one."""
        self._codes.append(-1 if value is None else self._places.setdefault(value, len(self._places)))

    def series(self) -> "pd.Series[Any]":
        """All of them, as a categorical."""
        return pd.Series(pd.Categorical.from_codes(np.frombuffer(self._codes, np.int32), list(self._places)))


class TableBuilder:
    """A table as it is read."""

    def __init__(self, columns: Mapping[str, Numbers | Texts | Labels]) -> None:
        self._columns = columns

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; what it lacks is missing."""
        for name, column in self._columns.items():
            column.append(row.get(name))

    def table(self) -> pd.DataFrame:
        """All rows; only labels are copied."""
        return pd.DataFrame({name: column.series() for name, column in self._columns.items()}, copy=False)

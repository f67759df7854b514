"""Parts of files: pread here, few and large range requests from object storage."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from usd.data.storage import read_ranges

MOST_OPEN = 128  # at once, of a process
WASTE = 0.05  # of the bytes that a request is made for: what it may fetch beside them to save another request


class Extent(NamedTuple):
    """Bytes of a file, in the order of files and places."""

    url: str
    start: int
    length: int

    @property
    def end(self) -> int:
        """The byte after the last."""
        return self.start + self.length


class OpenFiles:
    """Files of this machine, kept open for reading."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, int] = OrderedDict()

    def __reduce__(self) -> tuple[type["OpenFiles"], tuple[()]]:
        return OpenFiles, ()

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def descriptor(self, path: str) -> int:
        """That of a file, for `os.pread`."""
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        if len(self._open) >= MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = os.open(path, os.O_RDONLY)
        return self._open[path]


def fetch(extents: Sequence[Extent]) -> list[bytes]:
    """The bytes of each extent in object storage, from one request for each of `merged`; fewer where its file ends."""
    requests = merged(extents)
    fetched = read_ranges([(request.url, request.start, request.end) for request in requests])
    found = dict[Extent, bytes]()
    at = 0
    for extent in sorted(set(extents)):
        while requests[at].url != extent.url or requests[at].end < extent.end:
            at += 1
        begin = extent.start - requests[at].start
        found[extent] = fetched[at][begin : begin + extent.length]
    return [found[extent] for extent in extents]


def merged(extents: Sequence[Extent]) -> list[Extent]:
    """Extents that cover the given ones, sorted, with neighbours together where that fetches little in vain."""
    result: list[Extent] = []
    used = 0  # bytes of the last of them that are asked for
    for extent in sorted(set(extents)):
        last = result[-1] if result else None
        if last and last.url == extent.url:
            end = max(last.end, extent.end)
            wanted = used + max(0, extent.end - max(last.end, extent.start))
            if end - last.start <= (1 + WASTE) * wanted:
                result[-1], used = Extent(last.url, last.start, end - last.start), wanted
                continue
        result.append(extent)
        used = extent.length
    return result

"""Which pictures among the committed results changed."""

from usd.review.cache import Pair
from usd.review.revision import Revision


def changed(base: Revision, head: Revision) -> list[Pair]:
    """Grids and curves that differ, sorted by path."""
    paths = {path for revision in (base, head) for path in revision.paths("results") if path.endswith(".png")}
    pairs = [Pair(path, base.read(path), head.read(path)) for path in sorted(paths)]
    return [pair for pair in pairs if pair.before != pair.after]

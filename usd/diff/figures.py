"""Which pictures that stages write and git keeps changed."""

from usd.diff.cache import Pair
from usd.diff.revision import Revision
from usd.diff.stages import read_stages


def changed(base: Revision, head: Revision) -> list[Pair]:
    """Grids and curves that differ, sorted by path."""
    paths = {path for revision in (base, head) for path in _pictures(revision)}
    pairs = [Pair(path, base.read(path), head.read(path)) for path in sorted(paths)]
    return [pair for pair in pairs if pair.before != pair.after]


def _pictures(revision: Revision) -> list[str]:
    outs = [out for stage in read_stages(revision) for out, is_cached in stage.outs.items() if not is_cached]
    pictures = [path for path in revision.blobs if path.endswith(".png")]
    return [path for path in pictures if any(path == out or path.startswith(f"{out}/") for out in outs)]

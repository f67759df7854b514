"""Pictures of samples out of the DVC cache, where this machine has them."""

import json
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from usd.data.record import field_path
from usd.diff.revision import Revision
from usd.tasks import MAPS

STAGES = {"render": ("image",), "annotate": tuple(MAPS)}  # which stage makes which fields
MOST = 2  # fields that are shown of a changed sample


@dataclass(frozen=True)
class Pair:
    """A picture before and after; None where there is none."""

    title: str
    before: bytes | None
    after: bytes | None

    @property
    def state(self) -> str:
        """One of: added, removed, changed."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"


@dataclass(frozen=True)
class Pictures:
    """The pictures of one revision's samples: field → path in the output → md5."""

    cache: Path
    listed: dict[str, dict[str, str]] = field(default_factory=dict)

    def digest(self, key: str, name: str) -> str | None:
        """The md5 of a sample's field."""
        return self.listed.get(name, {}).get(str(field_path(Path(), key, name)))

    def read(self, key: str, name: str) -> bytes | None:
        """PNG bytes of a sample's field."""
        digest = self.digest(key, name)
        return _read(self.cache, digest) if digest else None


def pictures(revision: Revision) -> Pictures:
    """What the cache has of the data that the revision's dvc.lock names."""
    cache, stages = cache_folder(revision.root), revision.yaml("dvc.lock").get("stages", {})
    listed: dict[str, dict[str, str]] = {}
    for stage, names in STAGES.items():
        outs = [out["md5"] for out in stages.get(stage, {}).get("outs", []) if str(out.get("md5", "")).endswith(".dir")]
        listed |= {name: _listing(cache, outs[0]) if outs else {} for name in names}
    return Pictures(cache, listed)


def thumbnails(before: Pictures, after: Pictures, keys: list[str]) -> list[Pair]:
    """For each key its image, or those of its pictures that changed; nothing where the cache has none."""
    pairs = []
    for key in keys:
        differ = [name for name in before.listed if before.digest(key, name) != after.digest(key, name)]
        one_sided = before.digest(key, "image") is None or after.digest(key, "image") is None
        for name in differ[:MOST] if differ and not one_sided else ["image"]:
            pair = Pair(key if name == "image" else f"{key}, {name}", before.read(key, name), after.read(key, name))
            pairs += [pair] if pair.before or pair.after else []
    return pairs


def cache_folder(root: Path) -> Path:
    """The cache folder: `.dvc/cache`, unless DVC's configuration names another."""
    config = ConfigParser(interpolation=None)
    try:
        config.read([root / ".dvc/config", root / ".dvc/config.local"])
    except ConfigError:
        return root / ".dvc/cache"
    folder = config.get("cache", "dir", fallback="cache").strip("\"'")
    return root / ".dvc" / Path(folder).expanduser()


@lru_cache(maxsize=8)
def _listing(cache: Path, digest: str) -> dict[str, str]:
    """Path → md5 of the files of a folder; empty if the cache does not have it, or damaged."""
    try:
        return {row["relpath"]: row["md5"] for row in json.loads(_read(cache, digest) or b"[]")}
    except (ValueError, KeyError, TypeError):
        return {}


def _read(cache: Path, digest: str) -> bytes | None:
    try:
        return (cache / "files/md5" / digest[:2] / digest[2:]).read_bytes()
    except OSError:
        return None

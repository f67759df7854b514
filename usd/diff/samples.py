"""Pictures of samples: what DVC's cache has of the data that a revision's dvc.lock names, and what its remote has."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from usd.data.record import field_path
from usd.diff.dag import read_stages
from usd.diff.layout import PictureChange
from usd.diff.revision import Revision
from usd.errors import UsdError
from usd.tasks import FIELDS

DATA = "data/"  # below it are all datasets that stages make
MOST = 2  # fields that are shown of a changed sample


class Store:
    """The content that DVC keeps outside git, by its md5; from the remote if `fetch` is set, else from the cache only.

    Raises:
        UsdError: DVC's configuration cannot be read, or content is to be fetched and no remote is configured.
    """

    def __init__(self, root: Path, fetch: bool = False) -> None:
        self.root, self.fetch = root, fetch
        if fetch and not self._repo.config["core"].get("remote"):
            raise UsdError("--fetch: DVC has no default remote; `dvc remote add --default NAME URL` sets one")

    def read(self, digest: str) -> bytes | None:
        """A file's content, None where it cannot be had."""
        cache = self._repo.cache.local
        if cache is None:  # the project has no .dvc folder
            return None
        try:
            return Path(cache.oid_to_path(digest)).read_bytes()
        except OSError:
            return None

    def bring(self, digests: Iterable[str]) -> None:
        """Get into the cache what it lacks, if content is to be fetched.

        Raises:
            UsdError: the remote cannot be read.
        """
        if not self.fetch:
            return
        from dvc.exceptions import DvcException
        from dvc_data.hashfile.hash_info import HashInfo
        from dvc_objects.errors import ObjectFormatError

        cache = self._repo.cache.local
        lacking = {HashInfo("md5", digest) for digest in digests if not cache.exists(digest)}
        if not lacking:
            return
        try:
            self._repo.cloud.pull(lacking)
        except (DvcException, ObjectFormatError, OSError, ValueError) as error:
            raise UsdError(f"--fetch: the DVC remote cannot be read ({error}); see `dvc remote list`") from None

    @cached_property
    def _repo(self) -> Any:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        try:
            return Repo(str(self.root), uninitialized=True)
        except (DvcException, OSError, ValueError) as error:
            told = " ".join(str(error).split())
            raise UsdError(f".dvc/config or .dvcignore: DVC cannot read it ({told}); restore it") from None


@dataclass(frozen=True)
class SamplePictures:
    """The pictures of one revision's samples: path in the dataset → md5."""

    store: Store
    listed: dict[str, str]

    def digest(self, key: str, name: str) -> str | None:
        """The md5 of a sample's field."""
        return self.listed.get(field_path(Path(), key, name).as_posix())

    def read(self, key: str, name: str) -> bytes | None:
        """PNG bytes of a sample's field."""
        digest = self.digest(key, name)
        return self.store.read(digest) if digest else None


def sample_pictures(revision: Revision, store: Store) -> SamplePictures:
    """The files of all datasets that DVC caches at a revision; those of samples are named by `usd.data.record`."""
    folders = [
        out.recorded
        for stage in read_stages(revision)
        for out in stage.outs
        if out.cached and out.path.startswith(DATA) and out.recorded and out.recorded.endswith(".dir")
    ]
    store.bring(folders)
    listed: dict[str, str] = {}
    for folder in folders:
        try:
            listed |= {row["relpath"]: row["md5"] for row in json.loads(store.read(folder) or b"[]")}
        except (ValueError, KeyError, TypeError):
            continue  # damaged: as if the cache did not have it
    return SamplePictures(store, listed)


def thumbnails(before: SamplePictures, after: SamplePictures, keys: list[str]) -> list[PictureChange]:
    """For each key its image, or those of its pictures that changed; nothing where they cannot be had."""
    chosen = [(key, name) for key in keys for name in _shown(before, after, key)]
    sides = (before, after)
    before.store.bring(digest for side in sides for field in chosen if (digest := side.digest(*field)))
    found = [
        PictureChange(key if name == "image" else f"{key}, {name}", before.read(key, name), after.read(key, name))
        for key, name in chosen
    ]
    return [picture for picture in found if picture.before or picture.after]


def _shown(before: SamplePictures, after: SamplePictures, key: str) -> list[str]:
    one_sided = before.digest(key, "image") is None or after.digest(key, "image") is None
    differ = [name for name in FIELDS if before.digest(key, name) != after.digest(key, name)]
    return differ[:MOST] if differ and not one_sided else ["image"]

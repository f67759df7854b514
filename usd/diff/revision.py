"""The files of a revision: a commit in git's history, or the work tree as it is on disk."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from usd.config.loading import check_depth, fault
from usd.errors import UsdError

WORKSPACE = "workspace"  # the name that stands for uncommitted work
SHOWN = 10  # hex digits of a commit
MALFORMED = (  # what reading or taking apart a value raises if it is not in the form that is expected
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    StopIteration,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, eq=False)
class Revision:
    """A state of the project; all paths are relative to its root, with slashes."""

    label: str  # as shown, such as "main (1a2b3c4d5e)"
    commit: str  # empty for the work tree
    root: Path
    blobs: Mapping[str, str]  # path → git's id of its content; empty ids in the work tree
    fetch: bool = False  # whether content that DVC keeps is fetched from its remote where the cache lacks it

    def paths(self, folder: str = "") -> list[str]:
        """The files below a folder, sorted."""
        return sorted(path for path in self.blobs if path.startswith(f"{folder}/" if folder else ""))

    def read(self, path: str) -> bytes | None:
        """The content of a file, None where the revision does not have it."""
        if path not in self.blobs:
            return None
        blob = self.blobs[path]
        try:
            return _blob(self.root, blob) if blob else (self.root / path).read_bytes()
        except OSError:
            return None  # removed meanwhile

    def json(self, path: str) -> Any:
        """A JSON file's value, None where the revision does not have the file.

        Raises:
            UsdError: the file is not valid JSON.
        """
        data = self.read(path)
        try:
            return None if data is None else json.loads(data)
        except (ValueError, RecursionError) as error:
            raise UsdError(
                f"{path} of {self.label}: not valid JSON ({error}); make it again with `dvc repro`"
            ) from None

    def yaml(self, path: str) -> dict[str, Any]:
        """A YAML file's mapping, empty where the revision does not have the file; YAML 1.2, as DVC reads it.

        Raises:
            UsdError: the file is not a mapping.
        """
        data = self.read(path)
        try:
            value = _parsed(data) if data else None
        except (YAMLError, *MALFORMED) as error:
            raise UsdError(f"{path} of {self.label}: not valid YAML: {fault(error)}") from None
        if value is not None and not isinstance(value, dict):
            raise UsdError(f"{path} of {self.label}: not a mapping; restore it from another revision")
        return value or {}


def find(name: str, root: Path, fetch: bool = False) -> Revision:
    """The revision that git knows by this name, or the work tree for "workspace".

    Raises:
        UsdError: no such revision, or no git repository.
    """
    if name == WORKSPACE:
        listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode(errors="replace")
        paths = {path: "" for path in listed.split("\0") if path and (root / path).is_file()}
        return Revision(WORKSPACE, "", root, paths, fetch)
    return _at(name, _commit(name, root), root, fetch)


def find_base(name: str, head: Revision, fetch: bool = False) -> Revision:
    """The commit at which the history of `head` left that of `name`, as a pull request is compared.

    Raises:
        UsdError: no such revision, or the histories have nothing in common.
    """
    if name == WORKSPACE:
        return find(name, head.root, fetch)
    tip = _commit(name, head.root)
    try:
        merge_base = _git(head.root, "merge-base", tip, head.commit or "HEAD").decode().strip()
    except UsdError:
        raise UsdError(
            f"'{name}' and {head.label} have no common ancestor; fetch more history (`git fetch --unshallow`), "
            "or compare with its tip: --tip"
        ) from None
    return _at(name if merge_base == tip else f"merge base with {name}", merge_base, head.root, fetch)


def _commit(name: str, root: Path) -> str:
    _git(root, "rev-parse", "--git-dir")  # complains outside a repository
    try:
        found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode()
    except UsdError:
        if ".." in name:
            base, _, head = name.partition("..")
            example = " ".join(filter(None, (base, head.removeprefix("."))))
            raise UsdError(f"'{name}': a range is two names here, as in `usd diff {example}`") from None
        shallow = _git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"
        how = " (`git fetch --unshallow` gets the history)" if shallow else ""
        raise UsdError(
            f"'{name}': git knows no such revision; fetch it{how}, or name another ('{WORKSPACE}' too)"
        ) from None
    return found.split()[-1]


def _at(name: str, commit: str, root: Path, fetch: bool) -> Revision:
    listed = _git(root, "ls-tree", "-r", "-z", commit).decode(errors="replace")
    rows = (row.split("\t", 1) for row in listed.split("\0") if row)
    blobs = {path: kind.split()[2] for kind, path in rows if kind.split()[1] == "blob"}
    label = commit[:SHOWN] if commit.startswith(name) else f"{name} ({commit[:SHOWN]})"
    return Revision(label, commit, root, blobs, fetch)


@lru_cache(maxsize=16)
def _parsed(data: bytes) -> Any:
    check_depth(data)
    value = YAML(typ="safe").load(data)
    json.dumps(value, default=str, skipkeys=True)  # raises if an alias stands for what it is part of
    return value


@lru_cache(maxsize=1024)
def _blob(root: Path, blob: str) -> bytes:
    return _git(root, "cat-file", "blob", blob)


def _git(root: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise UsdError("git: not found; install it") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode(errors="replace").split())
        if "not a git repository" in said:
            said = "not a git repository, which an archive of the files is not; clone the project instead"
        raise UsdError(f"git {arguments[0]}: {said}") from None

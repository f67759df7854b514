"""The stages of a revision as DVC reads them, each beside what dvc.lock recorded when it last ran."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from usd.config.loading import fault
from usd.diff.parameters import ABSENT, flatten
from usd.diff.revision import MALFORMED, WORKSPACE, Revision
from usd.errors import UsdError


@dataclass(frozen=True)
class StageInput:
    """A dependency that is a file or a folder."""

    path: str
    recorded: str | None  # its hash in dvc.lock
    outside: bool  # of the repository, such as s3://bucket/shards: what is there now is not looked up


@dataclass(frozen=True)
class StageOutput:
    """A file or folder that a stage makes."""

    path: str
    recorded: str | None  # its hash in dvc.lock, or in the .dvc file
    cached: bool  # DVC keeps it; git does if not


@dataclass(frozen=True)
class StageRecord:
    """A stage of a dvc.yaml, which is named before it unless it is the root's, or data that `dvc add` tracks."""

    name: str
    source: bool  # made by nobody: a .dvc file
    frozen: bool
    always: bool  # runs whether or not anything has changed, unless it is frozen
    command_changed: bool
    inputs: tuple[StageInput, ...]
    outs: tuple[StageOutput, ...]
    parameters: tuple[str, ...]  # "params.yaml: train.steps" of each that differs from dvc.lock

    @property
    def locked(self) -> bool:
        """Whether dvc.lock knows the stage."""
        return any(each.recorded for each in self.inputs) or any(each.recorded for each in self.outs)


@lru_cache(maxsize=4)
def read_stages(revision: Revision) -> tuple[StageRecord, ...]:
    """All stages in the order of dvc.yaml: matrices, variables and .dvc files resolved by DVC itself.

    Raises:
        UsdError: a file that DVC reads is not what it writes, or git lacks its content.
    """
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    file, remedy = ".dvc/config or .dvcignore", "restore it"
    try:
        with _repo(revision) as repo:
            file, remedy = "dvc.yaml or dvc.lock", "restore it from git, then `dvc repro`"
            return tuple(_record(repo, stage) for stage in repo.index.stages if not _empty(stage))
    except OSError as error:
        if revision.commit and isinstance(error, FileNotFoundError):  # git lists it, and lacks its content
            remedy = "a partial clone gets it by `git fetch --refetch --no-filter`"
        raise UsdError(
            f"{error.filename or file} of {revision.label}: not readable ({error.strerror or error}); {remedy}"
        ) from None
    except (DvcException, SCMError, *MALFORMED) as error:
        raise UsdError(f"{file} of {revision.label}: not readable ({fault(error)}); {remedy}") from None


@contextmanager
def _repo(revision: Revision) -> Iterator[Any]:
    from dvc.fs import GitFileSystem
    from dvc.repo import Repo
    from dvc.scm import SCM
    from scmrepo.git.backend.pygit2 import Pygit2Object
    from scmrepo.git.objects import GitTrie

    if revision.label == WORKSPACE:
        repo = Repo(str(revision.root), uninitialized=True)
    else:
        scm = SCM(str(revision.root), search_parent_directories=True)
        tree = Pygit2Object(scm.pygit2.get_tree_obj(revision.commit).obj)  # files read whole: a stream may never end
        files = GitFileSystem(trie=GitTrie(tree, revision.commit))
        folder = PurePosixPath("/", revision.root.resolve().relative_to(Path(scm.root_dir).resolve()))
        repo = Repo(str(folder), fs=files, scm=scm, uninitialized=True)
    try:
        repo.dvcignore  # noqa: B018 - DVC reads it when it is first asked for
        repo.config  # noqa: B018
        yield repo
    finally:
        repo.close()


def _empty(stage: Any) -> bool:
    """Whether it is a .dvc file that tracks nothing."""
    from dvc.stage import PipelineStage

    return not isinstance(stage, PipelineStage) and not stage.outs


def _record(repo: Any, stage: Any) -> StageRecord:
    from dvc.dependency.param import ParamsDependency
    from dvc.dvcfile import PROJECT_FILE
    from dvc.stage import PipelineStage

    def path(item: Any) -> str:
        return str(item.fs.relpath(item.fs_path, repo.root_dir)) if item.is_in_repo else str(item.def_path)

    def name() -> str:
        if not isinstance(stage, PipelineStage):
            return path(stage.outs[0])
        file = str(repo.fs.relpath(stage.path, repo.root_dir))
        return stage.name if file == PROJECT_FILE else f"{file}:{stage.name}"

    parameters = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    files = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
    return StageRecord(
        name=name(),
        source=not isinstance(stage, PipelineStage),
        frozen=stage.frozen,
        always=bool(stage.always_changed or stage.is_callback),
        command_changed=isinstance(stage, PipelineStage) and stage.cmd_changed,
        inputs=tuple(StageInput(path(dep), dep.hash_info.value, not dep.is_in_repo) for dep in files),
        outs=tuple(StageOutput(path(out), out.hash_info.value, bool(out.use_cache)) for out in stage.outs),
        parameters=tuple(f"{path(dep)}: {key}" for dep in parameters for key in _changed(dep)),
    )


def _changed(dependency: Any) -> list[str]:
    """The parameters of a stage that differ from what dvc.lock recorded, by their dotted keys."""
    before, after = (flatten(values) for values in (dependency.hash_info.value or {}, dependency.read_params()))
    return sorted(key for key in before.keys() | after.keys() if before.get(key, ABSENT) != after.get(key, ABSENT))

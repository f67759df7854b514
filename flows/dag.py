"""The DAG, read from dvc.yaml through DVC."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usd.errors import UsdError

GPU = "gpu"  # `meta: {gpu: true}` in dvc.yaml, and the concurrency limit that such stages share
WRITES = "writes"  # `meta: {writes: [FILE]}`: files in git that a stage writes and DVC does not hash, such as timings


@dataclass(frozen=True)
class Stage:
    """A stage as DVC sees it."""

    name: str
    upstream: tuple[str, ...]  # the stages whose outputs it needs; none if it is frozen
    gpu: bool  # whether it takes its turn
    frozen: bool
    missing: tuple[Path, ...]  # outputs that are not there
    results: tuple[Path, ...]  # what git keeps of it, not DVC's cache


def read_dag(targets: list[str] | None = None) -> list[Stage]:
    """The stages that `dvc repro TARGETS` looks at, in its order; without targets, all.

    Raises:
        UsdError: no DVC project in the working directory, a broken dvc.yaml, or an unknown target.
    """
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    with _project() as repo:
        graph = get_active_graph(repo.index.graph)
        return [
            Stage(
                name=stage.addressing,
                upstream=tuple(sorted(other.addressing for other in graph.successors(stage))),
                gpu=bool((stage.meta or {}).get(GPU)),
                frozen=stage.frozen,
                missing=tuple(Path(str(out)) for out in stage.outs if not out.exists),
                results=(
                    *(Path(str(out)) for out in stage.outs if not out.use_cache),
                    *map(Path, (stage.meta or {}).get(WRITES, ())),
                ),
            )
            for stage in plan_repro(graph, collect_stages(repo, targets or []) or None)
        ]


def stale(stages: list[Stage]) -> set[str]:
    """The stages that DVC must look into: what they read, write or are has changed, or they need one of these.

    Asked once for all, which takes as long as starting DVC for one. All, while somebody else runs DVC.
    """
    from dvc.lock import LockError

    names = [stage.name for stage in stages]
    with _project() as repo:
        try:
            found = set(repo.status(names))
        except LockError:
            return set(names)
    for stage in stages:
        if found.intersection(stage.upstream):
            found.add(stage.name)
    return found


@contextmanager
def _project() -> Iterator[Any]:
    """The DVC project in the working directory."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise UsdError(f"dvc.yaml: {error}; run from the project's root, and see `dvc stage list` for names") from error

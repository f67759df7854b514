"""Which stages `dvc repro` will run at a revision, from dvc.yaml, dvc.lock, params.yaml and the files in git.

DVC need not rerun all that follows: a stage whose inputs come out the same as before is skipped.
"""

import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from usd.config import PARAMS
from usd.diff.parameters import ABSENT, flatten
from usd.diff.revision import Revision
from usd.errors import UsdError

PLACEHOLDER = re.compile(r"\$\{([\w.]+)\}")


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml; one of a matrix is name@item."""

    name: str
    cmd: str
    deps: list[str]
    params: list[tuple[str, str]]  # file, dotted key; the key is empty for the whole file
    outs: dict[str, bool]  # path → whether DVC caches it (git keeps it if not)
    frozen: bool


@dataclass(frozen=True)
class Rerun:
    """A stage that will run: for reasons of its own, or after others."""

    name: str
    reasons: list[str]
    after: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What `dvc repro` will do at a revision, in the order of dvc.yaml."""

    reruns: list[Rerun]
    frozen: list[Rerun]  # out of date, but not run


def plan(revision: Revision) -> Plan:
    """The stages that are out of date, and all that follow.

    Raises:
        UsdError: dvc.yaml or dvc.lock is not what DVC writes.
    """
    try:
        stages = read_stages(revision)
        lock = revision.yaml("dvc.lock").get("stages") or {}
        made = {out["path"]: out["md5"] for entry in lock.values() for out in entry.get("outs", []) if "md5" in out}
        own = {stage.name: reasons(revision, stage, lock.get(stage.name), made, stages) for stage in stages}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsdError(
            f"dvc.yaml or dvc.lock of {revision.label}: not readable ({error!r}); restore it or run `dvc repro`"
        ) from None
    running = {stage.name for stage in stages if own[stage.name] and not stage.frozen}
    before: set[str] = set()
    while running != before:
        before = set(running)
        running |= {stage.name for stage in stages if not stage.frozen and _upstream(stage, stages, before)}
    return Plan(
        reruns=[Rerun(s.name, own[s.name], _upstream(s, stages, running)) for s in stages if s.name in running],
        frozen=[Rerun(s.name, own[s.name]) for s in stages if s.frozen and own[s.name]],
    )


def read_stages(revision: Revision) -> list[Stage]:
    """The stages of dvc.yaml, matrix stages one by one."""
    params = revision.yaml(str(PARAMS))
    stages = []
    for name, entry in (revision.yaml("dvc.yaml").get("stages") or {}).items():
        matrix = entry.get("matrix")
        if not matrix:
            stages.append(_stage(name, entry, params))
            continue
        for values in itertools.product(*matrix.values()):
            item = dict(zip(matrix, values, strict=True))
            stages.append(_stage(f"{name}@{'-'.join(map(str, values))}", entry, params | {"item": item}))
    return stages


def reasons(
    revision: Revision, stage: Stage, entry: dict[str, Any] | None, made: dict[str, str], stages: list[Stage]
) -> list[str]:
    """Why the stage itself is out of date against its entry in dvc.lock; empty if it is not."""
    if entry is None:
        return ["not in dvc.lock"]
    recorded = {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}
    cached = {path for each in stages for path, is_cached in each.outs.items() if is_cached}
    found = []
    if "${" not in stage.cmd and stage.cmd.split() != str(entry["cmd"]).split():
        found.append("its command changed")
    for path in stage.deps:
        digest = made.get(path) if path in cached else md5(revision, path)
        if path not in recorded:
            found.append(f"{path} is a new dependency")
        elif digest is None and path not in made:
            found.append(f"{path} is missing")
        elif digest is not None and digest != recorded[path]:
            found.append(f"{path} changed")
    found += [f"{path} is no dependency any more" for path in recorded if path not in stage.deps]
    found += _params_changed(revision, stage, entry.get("params") or {})
    for path, is_cached in stage.outs.items():
        if path not in made:
            found.append(f"{path} is a new output")
        elif not is_cached and (digest := md5(revision, path)) != made[path]:
            found.append(f"{path} {'is not what it made' if digest else 'is missing'}")
    return found


def md5(revision: Revision, path: str) -> str | None:
    """DVC's hash of a file or folder that git keeps, None where the revision does not have it."""
    data = revision.read(path)
    if data is not None:
        return hashlib.md5(data).hexdigest()
    files = revision.paths(path)
    if not files:
        return None
    rows = [{"md5": md5(revision, file), "relpath": file.removeprefix(f"{path}/")} for file in files]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"


def lookup(values: Any, key: str) -> Any:
    """The value of a dotted key, ABSENT if there is none; the empty key is the whole."""
    for name in filter(None, key.split(".")):
        values = values.get(name, ABSENT) if isinstance(values, dict) else ABSENT
    return values


def _params_changed(revision: Revision, stage: Stage, recorded: dict[str, Any]) -> list[str]:
    found = []
    for file, key in stage.params:
        value = lookup(revision.yaml(file), key)
        known = recorded.get(file, {})
        before = known.get(key, ABSENT) if key else known
        left, right = flatten({key: before}), flatten({key: value})
        differing = sorted(k for k in left.keys() | right.keys() if left.get(k, ABSENT) != right.get(k, ABSENT))
        found += [f"{file}: {name}" for name in differing]
    return found


def _upstream(stage: Stage, stages: list[Stage], running: set[str]) -> list[str]:
    """The running stages that make something this stage depends on."""
    return [
        other.name
        for other in stages
        if other.name in running and any(_overlap(dep, out) for dep in stage.deps for out in other.outs)
    ]


def _overlap(left: str, right: str) -> bool:
    return left == right or left.startswith(f"{right}/") or right.startswith(f"{left}/")


def _stage(name: str, entry: dict[str, Any], values: dict[str, Any]) -> Stage:
    def text(value: Any) -> str:
        return PLACEHOLDER.sub(lambda match: _filled(match, values), str(value))

    outs = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind) or []]
    flags = [next(iter(out.items())) if isinstance(out, dict) else (out, {}) for out in outs]
    params: list[tuple[str, str]] = []
    for each in entry.get("params") or []:
        if isinstance(each, dict):
            params += [(text(file), text(key)) for file, names in each.items() for key in names or [""]]
        else:
            params.append((str(PARAMS), text(each)))
    return Stage(
        name=name,
        cmd=text(entry["cmd"]),
        deps=[text(next(iter(dep)) if isinstance(dep, dict) else dep) for dep in entry.get("deps") or []],
        params=params,
        outs={text(path): bool((settings or {}).get("cache", True)) for path, settings in flags},
        frozen=bool(entry.get("frozen", False)),
    )


def _filled(match: re.Match[str], values: dict[str, Any]) -> str:
    value = lookup(values, match[1])
    return match[0] if value is ABSENT or isinstance(value, dict | list) else str(value)

"""The flows that try other parameters, as DVC experiments: in a copy of the project, which itself stays as it is."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from prefect import State, flow, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed

from flows.artifacts import attempt, output_of, revision
from flows.dag import Stage, read_dag
from flows.processes import DVC, Processes, Stopped
from flows.stages import DVC_TASK, StageFailed, run_dvc
from flows.turns import superseded
from usd.config.loading import FROM_ROOT, PARAMS, parse_yaml
from usd.diff.parameters import flatten
from usd.errors import UsdError, counted
from usd.files import STATE, read_text

Settings = dict[str, Any]  # "train.steps": 500; a mapping sets each of its keys


@flow(name="sweep")
def sweep(grid: dict[str, list[Any]], targets: list[str] = ["evaluate@us_diffusion"]) -> State[Any]:  # noqa: B006
    """Run a grid of parameters as DVC experiments and table their metrics in the artifact `experiments`.

    The project's own files and results stay as they are. `dvc exp show` lists the experiments, `dvc exp apply NAME`
    takes one over.

    Args:
        grid: The values to try by parameter, such as {"train.ess_steps": [5, 10]}; all combinations are run.
        targets: The stages to bring up to date in each experiment, with all they need.
    """
    if end := superseded():
        return end
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not grid or not combinations:
        raise UsdError("grid: nothing to run; name parameters of params.yaml and the values to try")
    return run_experiments(combinations, targets)


def run_experiments(combinations: list[Settings], targets: list[str], force: bool = False) -> State[Any]:
    """Run one experiment a combination, one after another; one that fails does not keep the others from running.

    Raises:
        UsdError: the project's path is one that DVC's experiments cannot have, or params.yaml has no such parameter.
        StageFailed: some failed.
    """
    check_path(Path.cwd())
    check_keys(combinations)
    combinations = [flatten(settings) for settings in combinations]  # DVC takes no mapping
    stages = read_dag(targets)
    gpu = any(stage.gpu for stage in stages)
    names = [f"{flow_run.name}-{number}" for number in range(1, len(combinations) + 1)]
    states = []
    for name, settings in zip(names, combinations, strict=True):
        with Processes({STATE: state_of(settings)}) as processes:
            states.append(run_experiment(name, settings, targets, force, gpu, processes, return_state=True))
    attempt(revision)
    attempt(lambda: tabulate(names, combinations, stages))
    failed = [state.result(raise_on_failure=False) for state in states if not state.is_completed()]
    if failed:
        raise StageFailed("; ".join(str(reason) for reason in failed))
    return Completed(message=counted(len(names), "experiment"))


def check_path(root: Path) -> None:
    """Raise if DVC loses experiments here: it writes the path into a file that is plain ASCII, and takes it for a URL.

    Raises:
        UsdError: the path has other characters, or ones with a meaning in URLs.
    """
    if not str(root).isascii() or re.search("[#?]|%[0-9A-Fa-f]{2}", str(root)):
        raise UsdError(
            f"{root}: DVC runs no experiment below this path; move the project to one of ASCII letters, without # ? %"
        )


def check_keys(combinations: list[Settings]) -> None:
    """Raise if params.yaml lacks a parameter, before the project is copied.

    Raises:
        UsdError: it does, with the nearest names that it has; or a parameter is set twice.
    """
    known = list(flatten(parse_yaml(read_text(PARAMS, FROM_ROOT), str(PARAMS))))
    for settings in combinations:
        keys = [key for name, value in settings.items() for key in flatten({name: value})]
        for key in keys:
            if keys.count(key) > 1:
                raise UsdError(f"{key}: given twice, also by a mapping; keep one")
            if key not in known and not key.startswith(("+", "~")):  # DVC's signs to add one and to remove one
                near = ", ".join(get_close_matches(key, known, cutoff=0))
                raise UsdError(f"{key}: unknown key; the nearest ones in {PARAMS} are {near}")


def spelled(value: Any) -> str:
    """A value as DVC's `--set-param` reads it: JSON, except that in a text a backslash counts only before a quote."""
    if isinstance(value, list):
        return f"[{','.join(map(spelled, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    escaped = re.sub(r'(\\*)("|\Z)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), value)
    return f'"{escaped}"'


def state_of(settings: Settings) -> str:
    """Where trainings of these settings keep their checkpoints: outside DVC's copy of the project, which goes."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return str(Path(".usd/experiments", digest[:12]).absolute())


@task(**DVC_TASK)
def run_experiment(
    name: str, settings: Settings, targets: list[str], force: bool, gpu: bool, processes: Processes
) -> State[Any]:
    """Run one experiment with DVC.

    Raises:
        StageFailed: it failed, or DVC lost it.
    """
    options = [word for key, value in settings.items() for word in ("--set-param", f"{key}={spelled(value)}")]
    options += ["--force"] if force else []
    try:
        run_dvc(name, ["exp", "run", "--temp", "--name", name, *options, *targets], gpu, processes)
    except Stopped as reason:
        return Cancelled(message=str(reason))
    if not output_of("git", "for-each-ref", f"refs/exps/*/*/{name}"):
        raise StageFailed(
            f"{name}: DVC has run the experiment and not kept it; `dvc exp run --temp --verbose` may say why"
        )
    return Completed(message=", ".join(f"{key}={value}" for key, value in settings.items()))


def tabulate(names: list[str], combinations: list[Settings], stages: list[Stage]) -> None:
    """Table of the experiments' settings and metrics beside the project's own; only metrics that the stages write."""
    columns: dict[str, dict[str, Any]] = {}
    for found in rows(json.loads(output_of(*DVC, "exp", "show", "--json"))):
        name = "project" if found["rev"] == "workspace" else found["name"]
        if name in ("project", *names) and found["data"]:
            columns[name] = dict(values(found["data"], {key for settings in combinations for key in settings}, stages))
    order = [name for name in ("project", *names) if name in columns]
    keys = {key: None for name in order for key in columns[name]}
    table = [{"value": key} | {name: columns[name].get(key) for name in order} for key in keys]
    create_table_artifact(table=table, key="experiments", description="Settings and metrics of the experiments")


def rows(shown: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All revisions in the answer of `dvc exp show --json`."""
    for row in shown:
        yield row
        for experiment in row["experiments"] or ():
            yield from experiment["revs"]


def values(data: dict[str, Any], parameters: set[str], stages: list[Stage]) -> Iterator[tuple[str, Any]]:
    """The chosen parameters and the stages' metrics of one revision, by name."""
    for content in data["params"].values():
        yield from ((key, value) for key, value in flatten(content.get("data") or {}).items() if key in parameters)
    results = [path for stage in stages for path in stage.results]
    for file, content in data["metrics"].items():
        if any(path.as_posix() == file or file.startswith(f"{path.as_posix()}/") for path in results):
            yield from ((f"{file}: {key}", value) for key, value in flatten(content.get("data") or {}).items())

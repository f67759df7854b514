"""The flows that run stages of the DAG."""

from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run

from flows.dag import read_dag
from flows.experiments import Settings, run_experiments
from flows.propose import check_possible
from flows.propose import propose as propose_changes
from flows.stages import bring_up_to_date, check_what_is_there
from flows.turns import superseded


@flow(name="reproduce")
def reproduce(
    targets: list[str] | None = None, force: bool = False, dask: str | None = None, propose: bool = False
) -> State[Any]:
    """Run what has changed, as `dvc repro` does, each stage as a task.

    A stage that DVC skips shows as `Cached`, a frozen one as `Frozen`. Stages that do not need one another run side by
    side; those with `meta: {gpu: true}` in dvc.yaml share the concurrency limit `gpu`. A stage that fails ends the run.

    Args:
        targets: Stages to bring up to date, with all they need; none: the whole DAG. `dvc stage list` has the names.
        force: Run the stages even if nothing has changed.
        dask: Address of the Dask scheduler, such as tcp://10.0.0.5:8786, whose workers render, annotate, inspect and
            shard; none: processes of this machine.
        propose: Open a pull request with dvc.lock and the results if they changed: needs `gh`, signed in, and a
            checkout of the branch to propose to, clean and pushed. A DVC remote gets the data and models first.
    """
    if end := superseded():
        return end
    results = [path for stage in read_dag(targets) for path in stage.results] if propose else []
    if propose:
        check_possible(results)
    state = bring_up_to_date(targets, force, dask)
    if propose:
        propose_changes(results, f"the run {flow_run.name}")
    return state


@flow(name="validate")
def validate(dask: str | None = None) -> State[Any]:
    """Check the data that are there with Great Expectations, even if nothing has changed. Missing data are made first.

    The artifact `validation` has the summary, or the failing keys. Damage is shown, not repaired: `reproduce` does
    that.

    Args:
        dask: Address of the Dask scheduler whose workers inspect the data; none: processes of this machine.
    """
    return superseded() or check_what_is_there("validate", dask)


@flow(name="train")
def train(variant: str = "us_diffusion", overrides: Settings = {}, force: bool = False) -> State[Any]:  # noqa: B006
    """Train one variant, with all that it needs. Killed at any moment, the next run goes on from its last checkpoint.

    With overrides it is a DVC experiment, and the project stays as it is: `dvc exp apply NAME` takes it over.

    Args:
        variant: The variant; dvc.yaml has a stage train@VARIANT for it.
        overrides: Other parameters for this run, such as {"train.steps": 500}; none: as in params.yaml.
        force: Run the stages even if nothing has changed.
    """
    if overrides:
        return run_experiments([overrides], [f"train@{variant}"], force)
    return bring_up_to_date([f"train@{variant}"], force)


@flow(name="evaluate")
def evaluate(variant: str = "us_diffusion", force: bool = False) -> State[Any]:
    """Evaluate one variant: metrics and grids. Trains it first if that has changed.

    Args:
        variant: The variant; dvc.yaml has a stage evaluate@VARIANT for it.
        force: Run the stages even if nothing has changed.
    """
    return bring_up_to_date([f"evaluate@{variant}"], force)

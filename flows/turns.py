"""Runs wait for their turn; of scheduled runs that piled up meanwhile, only the latest is worth running."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import State, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run
from prefect.states import Completed

WAITING = [StateType.SCHEDULED, StateType.PENDING]


def superseded() -> State[Any] | None:
    """The end of the current run if a schedule made it and the next run of the same schedule is due already, else None.

    What a person asked for is never superseded.
    """
    with get_client(sync_client=True) as client:
        this = client.read_flow_run(UUID(flow_run.id))
        if not this.auto_scheduled or not this.deployment_id or not this.expected_start_time:
            return None
        due = {"after_": this.expected_start_time, "before_": datetime.now(UTC)}
        waiting = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(
                {"expected_start_time": due, "state": {"type": {"any_": WAITING}}, "id": {"not_any_": [this.id]}}
            ),
            deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [this.deployment_id]}}),
        )
    later = [run for run in waiting if run.auto_scheduled]
    if not later:
        return None
    get_run_logger().info("Not run: %s of the same schedule is due already", later[0].name)
    return Completed(name="Superseded", message="The next run of the same schedule is due already")

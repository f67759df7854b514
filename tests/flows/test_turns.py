"""What comes due or is asked for meanwhile waits for its turn."""

import logging
import os
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.flows.project import DEPLOYMENTS, api, assert_unlocked, diary, gone, start_waiting, state_of
from tests.serving import wait_for

pytestmark = pytest.mark.slow


def test_a_busy_gpu_is_waited_for_until_the_run_is_cancelled(inside: Path) -> None:
    from prefect.concurrency.sync import concurrency
    from prefect.deployments import run_deployment
    from prefect.states import Cancelling

    with api() as client, concurrency("gpu", strict=True):  # once leases of killed runs have expired
        flow_run = run_deployment("reproduce/test", parameters={"targets": ["train@a"], "force": True}, timeout=0)
        wait_for(lambda: Path(".usd/diary").exists() and ("end", "validate") in diary())
        time.sleep(3)
        assert {name for what, name in diary()} == {"render", "validate"}
        client.set_flow_run_state(flow_run.id, Cancelling())
        wait_for(lambda: state_of(flow_run).is_cancelled())
        assert client.read_global_concurrency_limit_by_name("gpu").active_slots == 1
    assert_unlocked(inside)


def test_another_deployment_waits_until_a_cancelled_run_has_stopped_its_stage(inside: Path) -> None:
    from prefect.deployments import run_deployment
    from prefect.states import Cancelling

    first, pid = start_waiting(inside)
    second = run_deployment("validate/other", timeout=0)
    time.sleep(3)
    assert state_of(second).is_scheduled()
    with api() as client:
        client.set_flow_run_state(first.id, Cancelling())
        wait_for(lambda: state_of(second).is_completed())
        assert client.read_flow_run(first.id).end_time <= client.read_flow_run(second.id).start_time
    assert gone(pid)
    assert state_of(first).is_cancelled()
    assert_unlocked(inside)


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_a_second_run_of_a_deployment_waits_for_the_first(deployment: str) -> None:
    from prefect.states import Cancelled, Pending, Scheduled

    later = Scheduled(scheduled_time=datetime.now(UTC) + timedelta(hours=1))
    with api() as client:
        deployment_id = client.read_deployment_by_name(deployment).id
        first, second = (client.create_flow_run_from_deployment(deployment_id, state=later) for _ in range(2))
        client.set_flow_run_state(first.id, Pending())
        client.set_flow_run_state(second.id, Pending())
        assert state_of(first).is_pending()
        assert state_of(second).name == "AwaitingConcurrencySlot"
        client.set_flow_run_state(first.id, Cancelled())
        client.set_flow_run_state(second.id, Pending())
        assert state_of(second).is_pending()
        client.set_flow_run_state(second.id, Cancelled())


@pytest.mark.usefixtures("inside")
def test_of_scheduled_runs_that_piled_up_only_the_latest_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.states import Cancelled, Scheduled

    from flows.turns import superseded

    def due(minutes: int, scheduled: bool) -> Any:
        """A run that has been waiting for some minutes."""
        when = datetime.now(UTC) - timedelta(minutes=minutes)
        made = client.create_flow_run_from_deployment(deployment.id, state=Scheduled(scheduled_time=when))
        if scheduled:
            with sqlite3.connect(Path(os.environ["PREFECT_HOME"], "prefect.db"), timeout=60) as database:
                database.execute("UPDATE flow_run SET auto_scheduled = 1 WHERE id = ?", (str(made.id),))
        return made

    with api() as client:
        deployment = client.read_deployment_by_name("validate/hourly")
        client.pause_deployment(deployment.id)
        runs = {name: due(*how) for name, how in {"old": (3, True), "asked": (2, False), "new": (1, True)}.items()}
        found = {}
        for name, made in runs.items():
            monkeypatch.setattr("prefect.runtime.flow_run.id", str(made.id), raising=False)
            monkeypatch.setattr("flows.turns.get_run_logger", logging.getLogger)
            found[name] = superseded()
        for made in runs.values():
            client.set_flow_run_state(made.id, Cancelled(), force=True)
        client.resume_deployment(deployment.id)
    assert (found["asked"], found["new"]) == (None, None)
    assert found["old"].is_completed()
    assert found["old"].name == "Superseded"

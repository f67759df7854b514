"""Cancelled and killed runs take their stages along."""

import shutil
from pathlib import Path

import psutil
import pytest

from tests.flows.project import api, assert_unlocked, diary, gone, run, start_waiting, state_of
from tests.serving import wait_for

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("stage", "what"), [("train@a", "wait"), ("render", "nap"), ("render", "deaf")])
def test_cancelling_stops_the_stage_and_unlocks_dvc(inside: Path, stage: str, what: str) -> None:
    from prefect.states import Cancelling

    flow_run, pid = start_waiting(inside, stage, what)
    workers = wait_for(lambda: psutil.Process(pid).children(recursive=True)) if what == "nap" else []
    with api() as client:
        client.set_flow_run_state(flow_run.id, Cancelling())
    wait_for(lambda: gone(pid))
    wait_for(lambda: all(gone(worker.pid) for worker in workers))
    wait_for(lambda: state_of(flow_run).is_cancelled())
    shutil.rmtree(".usd")
    assert_unlocked(inside)


def test_a_killed_flow_takes_its_stage_along_and_the_next_run_resumes(inside: Path) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    from flows.pipeline import train

    flow_run, pid = start_waiting(inside)
    engine = next(p for p in psutil.Process(pid).parents() if "prefect.engine" in p.cmdline())
    engine.kill()
    wait_for(lambda: gone(pid))
    wait_for(lambda: state_of(flow_run).is_crashed())
    assert_unlocked(inside)
    with api() as client:  # its lease on the GPU ends by itself after a minute
        client.update_global_concurrency_limit("gpu", GlobalConcurrencyLimitUpdate(active_slots=0))
    assert run(train, variant="a").is_completed()
    assert ("resume", "train@a") in diary()

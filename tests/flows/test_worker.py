"""Power cuts and killed workers. The last file: its last test ends the server of all others."""

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from tests import serving as serving_process
from tests.flows.project import api, assert_unlocked, diary, gone, send_everything, start_waiting, state_of
from tests.serving import wait_for

pytestmark = pytest.mark.slow


def test_what_a_power_cut_leaves_behind_is_cleared_at_the_next_start(inside: Path) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.states import Running

    from flows.serve import end_left_over_runs

    with api() as client:
        client.update_global_concurrency_limit("gpu", GlobalConcurrencyLimitUpdate(active_slots=1))
        deployment = client.read_deployment_by_name("reproduce/test")
        flow_run = client.create_flow_run_from_deployment(deployment.id, state=Running())
        end_left_over_runs(client)
        assert state_of(flow_run).is_crashed()
        assert client.read_global_concurrency_limit_by_name("gpu").active_slots == 0


def test_a_killed_worker_takes_its_stage_along_and_a_new_start_resumes(
    inside: Path, serving: "subprocess.Popen[bytes]"
) -> None:
    from prefect.deployments import run_deployment

    flow_run, pid = start_waiting(inside)
    send_everything()
    command = ["prefect", "worker", "start"]
    children = psutil.Process(serving.pid).children(recursive=True)
    next(child for child in children if child.cmdline()[2:5] == command).kill()
    assert serving.wait(120) == 1
    assert gone(pid)
    assert_unlocked(inside)

    again = serving_process.start(inside, int(os.environ["PREFECT_API_URL"].split(":")[2].split("/")[0]))
    assert state_of(flow_run).is_crashed()
    parameters = {"targets": ["train@a"]}
    assert run_deployment("reproduce/test", parameters=parameters, timeout=180).state.is_completed()
    assert ("resume", "train@a") in diary()

    children = psutil.Process(again.pid).children(recursive=True)
    assert len(children) >= 4  # server and worker, each with its guard
    send_everything()
    serving_process.stop(again)  # Ctrl-C
    wait_for(lambda: all(gone(child.pid) for child in children), 10)

"""Cancelled and killed runs take their stages along."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from flows import processes
from tests.flows.project import api, as_committed, assert_unlocked, diary, gone, run, start_waiting, state_of
from tests.serving import wait_for

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("what", ["nap", "deaf"])
def test_a_stage_that_is_stopped_ends_with_its_workers_and_unlocks_dvc(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """As a cancelled run does it; tests/flows/test_turns.py has one."""
    monkeypatch.chdir(as_committed(project))
    hasty = re.sub("^PATIENCE = .*", "PATIENCE = 2.0, 6.0, 3.0", processes.GUARD.read_text(), flags=re.MULTILINE)
    (tmp_path / "guard.py").write_text(hasty)
    monkeypatch.setattr(processes, "GUARD", tmp_path / "guard.py")
    (project / f".usd/{what}-render").touch()
    command = [*processes.DVC, "repro", "--single-item", "--force", "render"]
    running = processes.Processes()
    with ThreadPoolExecutor() as threads:
        done = threads.submit(running.run, command, print)
        wait_for((project / ".usd/pid").exists)
        pid = int(wait_for((project / ".usd/pid").read_text))
        workers = wait_for(lambda: psutil.Process(pid).children(recursive=True)) if what == "nap" else []
        running.stop()
        with pytest.raises(processes.Stopped):
            done.result(60)
    wait_for(lambda: all(gone(number) for number in (pid, *(worker.pid for worker in workers))))
    as_committed(project)
    assert_unlocked(project)


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

"""A stage of dvc.yaml as a Prefect task, and the DAG of them."""

import errno
import os
import re
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from prefect import State, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.runtime import task_run
from prefect.states import Cancelled, Completed

from flows import fanout
from flows.artifacts import attempt, publish
from flows.dag import GPU, Stage, read_dag, stale
from flows.processes import DVC, Finished, Processes, Stopped, signal_of
from usd.errors import UsdError

GPU_DOOR = Lock()  # one thread of this process at a time asks for it
DELAYS = [5.0, 20.0]  # seconds before each retry
SKIPPED = re.compile(r"^Stage '.+' (didn't change, skipping|is cached - skipping run)", re.MULTILINE)
STATUS = re.compile(r"exited with (-?\d+)$", re.MULTILINE)  # DVC's report of the stage's exit
COMPLAINT = re.compile(r"^error: .*", re.MULTILINE)  # how a stage reports bad input, which no retry fixes
HICCUPS = [os.strerror(code) for code in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET, errno.EAGAIN)]
BUSY = "is busy, it is being blocked by"  # DVC: somebody runs this stage by hand


class StageFailed(UsdError):
    """A stage ended with an error."""


class StageInterrupted(StageFailed):
    """A stage was killed or met a passing fault. A training resumes from its last checkpoint."""


def helped_by_retry(failure: object) -> bool:
    """Whether to run a stage again: after a signal or an I/O fault, never after a failed validation or gate."""
    return isinstance(failure, StageInterrupted | OSError)


def check_outcome(what: str, done: Finished) -> None:
    """Raise if DVC's exit status is not 0.

    Raises:
        StageInterrupted: a signal ended DVC or the stage, or the output tells of an I/O fault.
        StageFailed: anything else.
    """
    if done.code == 0:
        return
    status = int(found[-1]) if (found := STATUS.findall(done.output)) else done.code
    if number := signal_of(status):
        raise StageInterrupted(f"{what}: killed by signal {number}")
    complaints = COMPLAINT.findall(done.output)
    said = [line for line in done.output.splitlines() if not line.startswith("ERROR: failed to reproduce")]
    dvc = [line for line in said if line.startswith("ERROR: ")]  # hints may follow it
    last = [line.removeprefix("error: ") for line in complaints or dvc or said or [""]][-1]
    passing = any(text in last for text in HICCUPS) and (not complaints or "could not be written" in last)
    if BUSY in done.output or passing:
        raise StageInterrupted(f"{what}: {last}")
    if complaints:
        raise StageFailed(f"{what}: {last}")
    raise StageFailed(f"{what}: exit status {status}: {last}")


def take_gpu(slot: ExitStack, processes: Processes) -> None:
    """Hold the GPU until `slot` closes; waits for it, but not after the run was stopped.

    Raises:
        UsdError: the server has no such limit.
    """
    while True:
        processes.check()
        with GPU_DOOR, get_client(sync_client=True) as client:
            try:
                limit = client.read_global_concurrency_limit_by_name(GPU)
            except ObjectNotFound:
                raise UsdError(f"concurrency limit '{GPU}': not found; `prefect gcl create {GPU} --limit 1`") from None
            if limit.active_slots < limit.limit:
                with suppress(TimeoutError):  # another process was faster
                    slot.enter_context(
                        concurrency(
                            GPU,
                            occupy=1,
                            strict=True,
                            timeout_seconds=10,
                            lease_duration=60,  # seconds that the GPU stays taken if this process is killed
                            raise_on_lease_renewal_failure=False,  # a server that is away a while ends no training
                        )
                    )
                    return
        time.sleep(1)


def run_dvc(what: str, arguments: list[str], gpu: bool, processes: Processes) -> Finished:
    """Run a DVC command with its output in the task's log. On a failure without retry nothing else starts.

    Raises:
        Stopped: the run was cancelled or another stage failed.
        StageFailed, StageInterrupted: as `check_outcome`.
    """
    with ExitStack() as slot:
        try:
            if gpu:
                take_gpu(slot, processes)
            # another stage of this run may hold DVC's lock for a moment
            done = processes.run([*DVC, "--wait-for-lock", *arguments], get_run_logger().info)
            check_outcome(what, done)
            return done
        except Exception as failure:
            if not helped_by_retry(failure) or task_run.run_count > len(DELAYS):
                processes.close()  # before the GPU is free for the next stage
            raise


DVC_TASK: dict[str, Any] = {
    "task_run_name": "{name}",
    "retries": len(DELAYS),
    "retry_delay_seconds": DELAYS,
    "retry_condition_fn": lambda task, run, state: helped_by_retry(state.result(raise_on_failure=False)),
    "cache_policy": NO_CACHE,  # DVC caches
}


@task(**DVC_TASK)
def run_stage(name: str, gpu: bool, force: bool, processes: Processes) -> State[Any]:
    """Run one stage with DVC; ends as `Cached` where DVC skips it."""
    try:
        done = run_dvc(name, ["repro", "--single-item", *(["--force"] if force else []), name], gpu, processes)
    except Stopped as reason:
        return Cancelled(message=str(reason))
    if skipped := SKIPPED.search(done.output):
        return Completed(name="Cached", message=skipped[0])
    return Completed(message="Stage run")


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def skip_stage(name: str) -> State[Any]:
    """Show a stage that DVC need not look into, as `Cached`."""
    return Completed(name="Cached", message="Nothing that it reads or writes has changed")


@task(task_run_name="{name}", cache_policy=NO_CACHE)
def keep_frozen(name: str, missing: tuple[Path, ...], processes: Processes) -> State[Any]:
    """Show a frozen stage, which is not run, as `Frozen`.

    Raises:
        StageFailed: its outputs are not there, which is an error for `dvc repro` too.
    """
    thaw = f"git restore it, or set `frozen: false` for the stage in dvc.yaml and run `dvc repro {name}`"
    if missing:
        processes.close()
        raise StageFailed(f"{name}: frozen, and {', '.join(map(str, missing))} is missing: {thaw}")
    return Completed(name="Frozen", message=f"Not run. To run it: {thaw}")


def bring_up_to_date(targets: list[str] | None, force: bool, dask: str | None = None) -> State[Any]:
    """Run what `targets` need and what has changed, or all of it."""
    stages = read_dag(targets)
    names = {stage.name for stage in stages}
    return run_dag(stages, names if force else stale(stages), names if force else set(), dask)


def check_what_is_there(target: str, dask: str | None = None) -> State[Any]:
    """Run `target` whether or not it has changed, and before it only what has no outputs."""
    stages = read_dag([target])
    missing = {stage.name for stage in stages if stage.missing}
    return run_dag(stages, missing | {target}, {target}, dask)


def run_dag(stages: list[Stage], look_into: set[str], force: set[str], dask: str | None) -> State[Any]:
    """Run the stages, each as soon as those before it are done, and publish the artifacts.

    DVC decides on those to `look_into`, except that it must run those to `force`; the others show as `Cached`.

    Raises:
        StageFailed: a stage failed. No stage started after that; those that ran beside it have finished.
    """
    futures: dict[str, PrefectFuture[State[Any]]] = {}
    with Processes(fanout.environment(dask)) as processes:
        for stage in stages:
            options: dict[str, Any] = {
                "wait_for": [futures[name] for name in stage.upstream if name in futures],
                "return_state": False,
            }
            if stage.frozen:  # the name is what shows before the task starts
                frozen = keep_frozen.with_options(name=stage.name)
                futures[stage.name] = frozen.submit(stage.name, stage.missing, processes, **options)
            elif stage.name not in look_into:
                futures[stage.name] = skip_stage.with_options(name=stage.name).submit(stage.name, **options)
            else:
                live = run_stage.with_options(name=stage.name)
                futures[stage.name] = live.submit(stage.name, stage.gpu, stage.name in force, processes, **options)
        for future in futures.values():
            future.wait()
    publish(path for stage in stages for path in stage.results)
    return conclude(stages, {name: future.state for name, future in futures.items()})


def conclude(stages: Iterable[Stage], states: dict[str, State[Any]]) -> State[Any]:
    """Table of the stages' ends as an artifact; the flow's own end."""
    rows = [
        {"stage": stage.name, "state": states[stage.name].name, "message": states[stage.name].message}
        for stage in stages
    ]
    attempt(lambda: create_table_artifact(table=rows, key="stages", description="The stages, in DVC's order"))
    failed = [name for name, state in states.items() if state.is_failed() or state.is_crashed()]
    if failed:
        reasons = [states[name].result(raise_on_failure=False) for name in failed]
        raise StageFailed("; ".join(str(reason) for reason in reasons))
    counts = {name: [state.name for state in states.values()].count(name) for name in ("Completed", "Cached", "Frozen")}
    return Completed(message=f"{counts['Completed']} run, {counts['Cached']} cached, {counts['Frozen']} frozen")

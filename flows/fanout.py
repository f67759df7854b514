"""A stage's work over its samples as tasks of the flow run, wherever the task runner puts them.

The environment of a stage that a flow runs names `prefect_tasks`, so that no stage imports Prefect.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

from prefect import Flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.results import ResultStore
from prefect.runtime import flow_run
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from usd.errors import UsdError
from usd.parallel import SPREAD, ahead, cores, portions, single_thread

FLOW_RUN = "USD_FLOW_RUN"  # environment variable: the run that the tasks belong to
CLUSTER = "USD_DASK"  # environment variable: the address of a Dask scheduler, such as tcp://10.0.0.5:8786
MOST_TASKS = 32  # of one stage, as long as none gets larger than CHUNKS; each costs the server some 0.1 s
CHUNKS = 4  # as processes of one machine take them: the most in a task
AHEAD = 32  # tasks that run or wait: so many cores have work, and no more items are in memory
Input = TypeVar("Input")
Result = TypeVar("Result")


def environment(dask: str | None) -> dict[str, str]:
    """What the stages of the current flow run need to fan out; `dask` is the address of a scheduler."""
    with get_client(sync_client=True) as client:
        server = str(client.api_url)
    place = {CLUSTER: dask} if dask else {}
    quiet = {"PREFECT_LOGGING_LEVEL": "WARNING"}  # not a line for each task in the stage's log
    return {SPREAD: "flows.fanout:prefect_tasks", FLOW_RUN: flow_run.id, "PREFECT_API_URL": server, **quiet, **place}


@contextmanager
def prefect_tasks(
    work: Callable[[Input], Result], items: Iterator[Input], total: int, title: str, chunk: int
) -> Iterator[Iterator[Result]]:
    """The results of `work` in the items' order, from Prefect tasks of `chunk` items or more, AHEAD of them at once.

    Raises:
        UsdError: Dask is not installed, or no scheduler answers.
    """
    size = max(chunk, min(CHUNKS * chunk, -(-total // MOST_TASKS)))
    count = -(-total // size)
    with get_client(sync_client=True) as client, _task_runner() as task_runner, _killing_workers():
        run = client.read_flow_run(UUID(os.environ[FLOW_RUN]))
        settings: dict[str, Any] = {"client": client, "task_runner": task_runner, "result_store": ResultStore()}
        with FlowRunContext(flow=Flow(prefect_tasks, name=title), flow_run=run, detached=True, **settings):
            tasks = (
                do_part.with_options(task_run_name=f"{title} {number}/{count}").submit(work, part)
                for number, part in enumerate(portions(items, size), 1)
            )
            yield ahead(tasks, AHEAD)


@task(cache_policy=NO_CACHE)
def do_part(work: Callable[[Input], Result], items: list[Input]) -> list[Result]:
    """A stage's work over some of its items."""
    single_thread()
    return [work(item) for item in items]


@contextmanager
def _killing_workers() -> Iterator[None]:
    """An exception, which a cancellation is too, ends the processes of this machine in the middle of their parts."""
    try:
        yield
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()
        raise


def _task_runner() -> TaskRunner[Any]:
    """Processes of this machine, or the workers of the Dask cluster whose scheduler USD_DASK names."""
    address = os.environ.get(CLUSTER)
    if not address:
        return ProcessPoolTaskRunner(max_workers=cores())
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        remedy = "pip install --constraint constraints-extra.txt --editable '.[dask]'"
        raise UsdError(f"dask: not installed; {remedy}") from None
    runner = DaskTaskRunner(address=address, client_kwargs={"timeout": 5})
    try:
        runner.client  # noqa: B018 (connects)
    except (OSError, ValueError) as error:
        raise UsdError(f"dask: no scheduler at {address} ({error}); start one or leave the parameter out") from error
    return runner

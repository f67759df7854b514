"""All that scheduled runs need, on one machine: server, GPU limit, work pool, deployments, worker. Ctrl-C stops all.

python -m flows.serve
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated
from urllib.error import URLError
from urllib.request import urlopen

import typer

from flows.dag import GPU
from flows.processes import GUARD
from usd.errors import UsdError
from usd.files import Busy, check_writable, sole_writer
from usd.stages import run

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

POOL = "us-diffusion"  # the work pool of prefect.yaml
PREFECT = [sys.executable, "-m", "prefect"]
PATIENCE = 180.0  # seconds for the server to start, which takes long on a busy machine, and for runs to end


def check_url(value: str) -> str:
    """Refuse what the Prefect server could post nothing to; it would say so in its log only."""
    if value and not re.match("https?://[^/]", value):
        raise typer.BadParameter("expected a URL that begins with https://")
    return value


def main(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the server, on 127.0.0.1 only.")] = 4200,
    gpus: Annotated[int, typer.Option(min=1, help="How many stages with `meta: {gpu: true}` may run at once.")] = 1,
    notify: Annotated[
        str,
        typer.Option(envvar="USD_NOTIFY", callback=check_url, help="Webhook of a chat that is told of failed runs."),
    ] = "",
) -> None:
    """Serve the deployments of prefect.yaml from the working directory until Ctrl-C.

    Prefect's database and logs are in .usd/prefect, unless PREFECT_HOME says otherwise.
    """
    if not Path("prefect.yaml").exists():
        raise UsdError("prefect.yaml: not found; run from the project's root")
    url = f"http://127.0.0.1:{port}"
    home = prepare(url)
    with ExitStack() as stack:
        be_the_only_one(home, stack)
        log = stack.enter_context((home / "server.log").open("w"))
        server = start_server(port, log, stack)
        wait_until_healthy(server, url, home / "server.log")

        from prefect.client.orchestration import get_client  # reads PREFECT_API_URL

        from flows.notify import notify_failures

        client = stack.enter_context(get_client(sync_client=True))
        end_left_over_runs(client)
        notify_failures(notify)
        client.upsert_global_concurrency_limit_by_name(GPU, gpus)
        command("work-pool", "create", POOL, "--type", "process", "--overwrite")
        command("--no-prompt", "deploy", "--all")
        worker = guarded(["worker", "start", "--pool", POOL, "--limit", "1"], None, stack)  # one working directory
        stack.callback(end_runs, client, worker)
        print(INTRODUCTION.format(url=url, home=home), flush=True)
        try:
            while server.poll() is None and worker.poll() is None:
                time.sleep(0.5)
            ended = "worker" if server.poll() is None else "server"
            raise UsdError(f"the {ended} exited unexpectedly; {home}/server.log may say why")
        except KeyboardInterrupt:
            print("\nStopping: the running flow first, then the worker and the server", flush=True)
    print("Stopped.")


INTRODUCTION = """
Server       {url}
Deployments  {url}/deployments   (a run form for each: ⋮ › Custom run)
Runs         {url}/runs
Artifacts    {url}/artifacts
Database and server.log are in {home}

From another terminal:  export PREFECT_API_URL={url}/api
                        prefect deployment run reproduce/nightly --watch

Ctrl-C stops everything; a stage that was running goes on from its checkpoint the next time.
"""


def prepare(url: str) -> Path:
    """Set signals and environment of this process and its children; Prefect's folder."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as with Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background shell has us ignore
    home = Path(os.environ.setdefault("PREFECT_HOME", str(Path(".usd/prefect").absolute())))
    check_writable(home / "server.log")
    os.environ |= {"PREFECT_API_URL": f"{url}/api", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    os.environ["PWD"] = os.getcwd()  # prefect.yaml names it
    bypass_proxy()
    return home


def bypass_proxy() -> None:
    """Reach the server directly, also where the machine has a proxy for everything else."""
    without = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    direct = without if without == "*" else f"{without},127.0.0.1".removeprefix(",")
    os.environ |= {"no_proxy": direct, "NO_PROXY": direct}


def be_the_only_one(home: Path, stack: ExitStack) -> None:
    """Until `stack` closes, no other process serves this folder or this database: it would end our runs as left over.

    Raises:
        UsdError: another one does, whatever its port.
    """
    for place in (Path(".usd/serve"), home / "serve"):
        try:
            stack.enter_context(sole_writer(place))
        except Busy:
            raise UsdError(f"{place.parent}: another `make serve` is running in this folder; end it first") from None


def start_server(port: int, log: IO[str], stack: ExitStack) -> "subprocess.Popen[bytes]":
    """Start the API server; `stack` stops it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsdError(f"port {port}: {error.strerror}; choose another: python -m flows.serve --port ...") from None
    return guarded(["server", "start", "--host", "127.0.0.1", "--port", str(port)], log, stack)


def guarded(arguments: list[str], log: IO[str] | None, stack: ExitStack) -> "subprocess.Popen[bytes]":
    """Start a Prefect command under a guard (guard.py), so that it ends with us; `stack` stops it."""
    process = subprocess.Popen(
        [sys.executable, str(GUARD), *PREFECT, *arguments],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT if log else None,
        start_new_session=True,  # Ctrl-C reaches us only
    )
    return stack.enter_context(process)  # its exit closes standard input, on which the guard stops it, and waits


def wait_until_healthy(server: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"{url}/api/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.3)
    raise UsdError(f"{log}: the Prefect server did not start; the file says why")


def command(*arguments: str) -> None:
    """Run a short Prefect command; shows its output if it fails."""
    done = subprocess.run([*PREFECT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise UsdError(f"prefect {' '.join(arguments)}: {done.stdout.strip()}")


def runs_in_progress(client: "SyncPrefectClient") -> "list[FlowRun]":
    """The work pool's flow runs that have started and not ended."""
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
    from prefect.client.schemas.objects import StateType

    started = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": started}}}),
        work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [POOL]}}),
    )


def end_left_over_runs(client: "SyncPrefectClient") -> None:
    """Stop runs that a power cut or a killed worker has left in progress, mark them as crashed, free their slots.

    Nothing else would ever do it while no worker runs: the server forgets leases when it ends.
    """
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.states import Crashed

    runs = runs_in_progress(client)
    stop_processes({str(left_over.id) for left_over in runs})
    for left_over in runs:
        client.set_flow_run_state(left_over.id, Crashed(message="the machine or the worker stopped"), force=True)
    for limit in client.read_global_concurrency_limits(limit=200):
        if limit.active_slots:
            client.update_global_concurrency_limit(str(limit.id), GlobalConcurrencyLimitUpdate(active_slots=0))


def stop_processes(flow_runs: set[str]) -> None:
    """Kill the engines of flow runs, and wait until the guards have stopped their stages."""
    import psutil

    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("PREFECT__FLOW_RUN_ID") in flow_runs:
                left.append(process)
                if "prefect.engine" in process.cmdline():
                    process.kill()
    psutil.wait_procs(left, PATIENCE)


def end_runs(client: "SyncPrefectClient", worker: "subprocess.Popen[bytes]") -> None:
    """Cancel what runs, and wait for the worker to end it; without a worker, stop it."""
    from prefect.states import Cancelling

    if worker.poll() is None:
        for unfinished in runs_in_progress(client):
            client.set_flow_run_state(unfinished.id, Cancelling(message="the server is stopping"))
        deadline = time.monotonic() + PATIENCE
        while runs_in_progress(client) and time.monotonic() < deadline:
            time.sleep(0.5)
    end_left_over_runs(client)


if __name__ == "__main__":
    run(main)

"""The project and a real Prefect server with a worker, once for all tests of the flows."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import serving as serving_process
from tests.conftest import ROOT
from tests.flows.project import DVC_YAML, STEP, as_committed, in_project, prefect_yaml, send_everything


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC project in which everything is up to date and committed; its name is not plain."""
    folder = tmp_path_factory.mktemp("flows") / "my project"
    (folder / ".usd").mkdir(parents=True)
    files = {"step.py": STEP, "dvc.yaml": DVC_YAML, "prefect.yaml": prefect_yaml(), "params.yaml": "train: {rate: 2}\n"}
    for name, text in (files | {"base.txt": "base", ".gitignore": ".usd/\n/flows\n/usd\n"}).items():
        (folder / name).write_text(text)
    (folder / "lib").mkdir()
    (folder / "lib/code.py").touch()
    for package in ("flows", "usd"):
        (folder / package).symlink_to(ROOT / package)
    in_project(folder, "git", "init", "--quiet")
    in_project(folder, "git", "config", "user.name", "tester")
    in_project(folder, "git", "config", "user.email", "tester@example.org")
    in_project(folder, "git", "config", "color.ui", "always")
    in_project(folder, sys.executable, "-m", "dvc", "init", "--quiet")
    for name in ("left", "right"):  # run one after the other here
        (folder / f".usd/here-{name}").touch()
    in_project(folder, sys.executable, "-m", "dvc", "repro", "--quiet")
    in_project(folder, "git", "add", "--all")
    in_project(folder, "git", "commit", "--quiet", "--message", "Start")
    return folder


@pytest.fixture(scope="session")
def chat() -> Iterator[tuple[str, list[str]]]:
    """A webhook's URL, and what is posted there."""
    posted: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
        server.shutdown()


@pytest.fixture(scope="session")
def serving(
    project: Path, chat: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m flows.serve` in the project: server, worker and deployments. Prefect in this process uses it too."""
    port = serving_process.free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("PREFECT_WORKER_QUERY_SECONDS", "1")
        patch.setenv("USD_NOTIFY", chat[0])
        serve = serving_process.start(project, port)
        try:
            from prefect.settings import PREFECT_API_URL, temporary_settings

            with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
                yield serve
        finally:
            send_everything()
            serving_process.stop(serve)


@pytest.fixture
def inside(project: Path, serving: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project as working directory, as committed and with a clean .usd."""
    monkeypatch.chdir(project)
    return as_committed(project)


@pytest.fixture(scope="session")
def dask() -> Iterator[str]:
    """The scheduler of a cluster of two workers."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR) as cluster:
        yield cluster.scheduler_address

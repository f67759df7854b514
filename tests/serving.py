"""`python -m flows.serve` beside the tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def wait_for(found: Callable[[], T], seconds: float = 90) -> T:
    """The first true value of `found`, which must come in time."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
    return value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(project: Path, port: int, environment: Mapping[str, str] = os.environ) -> "subprocess.Popen[bytes]":
    """Server, worker and deployments of a project, once they are there."""
    log = project / ".usd/serve.log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "flows.serve", "--port", str(port)]
        serve = subprocess.Popen(command, cwd=project, stdout=out, stderr=out, env=environment)
    try:
        wait_for(lambda: "Ctrl-C" in log.read_text() or serve.poll() is not None, 180)
        assert serve.poll() is None, log.read_text()
    except BaseException:
        stop(serve)
        raise
    return serve


def stop(serve: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C."""
    if serve.poll() is None:
        serve.send_signal(signal.SIGINT)
        serve.wait(120)

"""Commands of one flow run: their output line by line, and an end to all of them at once."""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

GUARD = Path(__file__).with_name("guard.py")
DVC = [sys.executable, "-m", "dvc"]


class Stopped(Exception):
    """The flow run was cancelled, or one of its stages failed, before this command was done."""


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    output: str  # the last lines


def signal_of(status: int) -> int:
    """The signal that an exit status tells of, as Python or as a shell does, or 0."""
    if status < 0:
        return -status
    return status - 128 if 128 < status <= 192 else 0


class Processes:
    """The running commands of one flow run, each under a guard (guard.py). Its threads share one.

    They get `environment` beside their own. A context manager: an exception, which a cancellation also is, stops them.
    """

    def __init__(self, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._guards: set[subprocess.Popen[str]] = set()
        self._closed = False
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self.stop()

    def run(self, command: list[str], log: Callable[[str], None]) -> Finished:
        """Run a command in the working directory; every line of its output goes to `log` as it comes.

        Raises:
            Stopped: `close` came before, or `stop` before the end.
        """
        last: deque[str] = deque(maxlen=40)
        guard = self._start(command)
        try:
            for line in guard.stdout or ():  # a carriage return, as of a progress bar, ends a line too
                if line.strip():
                    last.append(line.rstrip())
                    log(last[-1])
        finally:  # however this ends, the command does too
            for stream in (guard.stdin, guard.stdout):
                if stream:
                    stream.close()
            guard.wait()
            with self._lock:
                self._guards.discard(guard)
        if self._stopped:
            raise Stopped("stopped: the run was cancelled")
        return Finished(guard.returncode, "\n".join(last))

    def check(self) -> None:
        """Raise `Stopped` if nothing may start any more."""
        if self._closed:
            raise Stopped("not started: another stage failed, or the run was cancelled")

    def close(self) -> None:
        """Let nothing start any more; what runs may finish."""
        with self._lock:
            self._closed = True

    def stop(self) -> None:
        """Stop what runs, and let nothing start any more. Returns at once; `run` returns when its command is gone."""
        with self._lock:
            self._closed = self._stopped = True
            for guard in self._guards:
                if guard.stdin:
                    guard.stdin.close()

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # `python` in dvc.yaml
        environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **self._environment}
        with self._lock:
            self.check()
            guard = subprocess.Popen(
                [sys.executable, str(GUARD), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
                start_new_session=True,  # Ctrl-C reaches us only, and we stop it in order
            )
            self._guards.add(guard)
        return guard

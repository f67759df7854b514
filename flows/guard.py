"""Run a command so that it never outlives the process that started it.

    python flows/guard.py COMMAND...

The starter keeps our standard input open. When that closes, because the starter wants the command stopped or has itself
been killed, the command's process group gets SIGINT; then what the command started gets SIGTERM; then the group gets
SIGKILL. DVC waits for its stage on SIGINT, and leaves the project unlocked once the stage has ended; SIGTERM would end
DVC itself before that. Exits as the command does, or with 128 + N if signal N ended it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import psutil

PATIENCE = 12.0, 6.0, 3.0  # seconds to wait after each step


def send(group: int, number: signal.Signals) -> None:
    """Signal a process group, which may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def interrupt(child: subprocess.Popen[bytes]) -> None:
    """Ask the command and all that it started to end."""
    send(child.pid, signal.SIGINT)


def terminate_descendants(child: subprocess.Popen[bytes]) -> None:
    """End what the command started, or the command if there is nothing else."""
    with contextlib.suppress(psutil.NoSuchProcess):
        command = psutil.Process(child.pid)
        for process in command.children(recursive=True) or [command]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()


def kill(child: subprocess.Popen[bytes]) -> None:
    """End all that is left, in the middle of whatever it does."""
    send(child.pid, signal.SIGKILL)


def stop_when_input_closes(child: subprocess.Popen[bytes], stopping: threading.Event) -> None:
    """Wait for the end of our standard input, then stop the child's group."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stopping.set()
    for step, patience in zip((interrupt, terminate_descendants, kill), PATIENCE, strict=True):
        step(child)
        try:
            child.wait(patience)
            return
        except subprocess.TimeoutExpired:
            continue


def main() -> int:
    """Run the command of sys.argv."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has us and all children ignore it
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, process_group=0)
    stopping = threading.Event()
    threading.Thread(target=stop_when_input_closes, args=(child, stopping), daemon=True).start()
    code = child.wait()
    if stopping.is_set() or code < 0:
        kill(child)  # what it left behind
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())

"""A line of a benchmark's table, and what it is measured with."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Bar:
    """One line of the table: what was found, and its bound."""

    what: str
    found: float
    least: float | None
    most: float | None
    sides: str

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return (self.least is None or self.found >= self.least) and (self.most is None or self.found <= self.most)

    def __str__(self) -> str:
        bound = f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"
        return f"| {self.what} | {self.found:.3g} | {bound} | {'yes' if self.holds else '**no**'} | {self.sides} |"


def printed_by(code: str, *arguments: str) -> list[str]:
    """The words that Python code prints, in a process of its own, whose memory is its own."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # the working directory is another
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"a measurement ended with {done.returncode} (-9: no memory was left)")
    return done.stdout.split()


def peak() -> int:
    """The most bytes of memory that this process has had. Linux only; getrusage would count the parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

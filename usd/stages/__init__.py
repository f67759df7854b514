"""One thin module per DVC stage: arguments and params in, files out.

Every module has a typer command `main`; `run` turns bad input into one line and exit code 1.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from usd.errors import reported
from usd.files import lasting

RunDir = Annotated[Path, typer.Argument(parser=lasting)]  # the state of an interrupted run


def run(command: Callable[..., Any]) -> None:
    """Run a stage's command line."""
    with reported():
        typer.run(command)

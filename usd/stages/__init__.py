"""One thin module per DVC stage: arguments and params in, files out.

Every module has a typer command `main`; `run` turns bad input into one line and exit code 1.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from usd import config
from usd.errors import reported
from usd.files import lasting

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers reads it; a stage downloads nothing
WRONG_USE = 2  # typer's exit code
RunDir = Annotated[Path, typer.Argument(parser=lasting)]  # the state of an interrupted run


def run(command: Callable[..., Any]) -> None:
    """Run a stage's command line. The bars that libraries show while they read or write a model are off."""
    if "diffusers" in sys.modules:
        from diffusers.utils import logging

        logging.disable_progress_bar()
    with reported():
        try:
            typer.run(command)
        except SystemExit as ended:
            if ended.code == WRONG_USE:  # as with a space in a path of params.yaml, which makes two arguments of it
                config.load()
            raise

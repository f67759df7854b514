"""One thin module per DVC stage: arguments and params in, files out.

Every module has a typer command `main`; `run` turns bad input into one line and exit code 1.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def lasting(run_dir: Path) -> Path:
    """Where a stage keeps the state of its run: below $USD_STATE, if that is set, as flows/experiments.py does."""
    return Path(os.environ.get("USD_STATE", "")) / run_dir


def run(command: Callable[..., Any]) -> None:
    """Run a stage's command line."""
    import typer

    from usd.errors import UsdError

    try:
        typer.run(command)
    except UsdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

"""The `usd` command: what people do around the DAG. The DAG itself is `dvc repro`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from usd.errors import UsdError

app = typer.Typer(
    no_args_is_help=True,
    help="US-Diffusion: show the model one example pair, it does the same to your query. "
    "The pipeline itself runs with `dvc repro`; every stage also explains itself: `python -m usd.stages.train --help`.",
)


@app.callback()
def callback() -> None:
    """US-Diffusion: in-context diffusion as a reproducible data-to-model pipeline."""


@app.command()
def profile(
    path: Annotated[Path, typer.Argument(help="A file of parameters to set, such as profiles/smoke.yaml.")],
) -> None:
    """Set the parameters of a profile in params.yaml, in place and visibly (see `git diff params.yaml`)."""
    from usd.profiles import apply

    for change in apply(path):
        print(change)


def main() -> None:
    """Entry point: bad input ends in one line and exit code 1."""
    try:
        app()
    except UsdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

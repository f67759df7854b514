"""What Prefect adds where nothing has changed, its server's start included. Run it where `dvc repro` has run.

python -m benchmarks.flows
"""

import os
import subprocess
import sys
import tempfile
import time

import typer

REPRODUCE = "from flows.pipeline import reproduce; reproduce()"


def seconds(*command: str) -> float:
    """How long a Python command takes, which must succeed."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Time `dvc repro` and the flow `reproduce`, one after the other, where nothing is left to do."""
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"PREFECT_HOME": home, "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true"}
        os.environ.pop("PREFECT_API_URL", None)
        seconds("-m", "prefect", "gcl", "create", "gpu", "--limit", "1")
        imports = seconds("-c", "import flows.pipeline")
        alone, within = seconds("-m", "dvc", "repro"), seconds("-c", REPRODUCE)
    print(f"import flows.pipeline {imports:.1f} s")
    difference, ratio = within - alone, within / alone
    print(f"dvc repro {alone:.1f} s, reproduce {within:.1f} s: {difference:.1f} s more, {ratio:.1f} times as long")


if __name__ == "__main__":
    typer.run(main)

"""What a flow run leaves to read in Prefect: metrics and parameters beside the last commit's, validation, grids.

The keys never change, so that Prefect shows the history of each.
"""

import base64
import io
import json
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.processes import DVC

VALIDATION = Path("results/validation/summary.md")  # as dvc.yaml has it: tests/flows/test_dag.py
THUMBNAIL = 720  # pixels across


def publish(results: Iterable[Path]) -> None:
    """Write the artifacts of a run; `results` are the files and folders in which grids are looked for."""
    attempt(lambda: differences("metrics", "Metrics, and what they were at the last commit"))
    attempt(lambda: differences("params", "Parameters, and what they were at the last commit", key="parameters"))
    attempt(validation)
    attempt(lambda: grids(results))
    attempt(revision)


def attempt(make: Callable[[], object]) -> None:
    """Make an artifact. One that cannot be made is a warning in the log: the run's own end must not depend on it."""
    try:
        make()
    except Exception as error:  # whatever the API's client raises
        get_run_logger().warning("An artifact is missing: %s", error)


def differences(kind: str, description: str, key: str | None = None) -> None:
    """Table of `dvc KIND diff`: all values in the working tree beside those of HEAD."""
    found = json.loads(output_of(*DVC, kind, "diff", "--all", "--json"))
    rows: list[dict[str, Any]] = [
        {"file": path, "name": name, "committed": change.get("old"), "now": change.get("new")}
        | {"difference": change.get("diff")}
        for path, changes in sorted(found.items())
        for name, change in changes.items()
    ]
    create_table_artifact(table=rows, key=key or kind, description=description)


def validation() -> None:
    """The validation's summary, with the failing keys if there are any."""
    if VALIDATION.exists():
        when = datetime.fromtimestamp(VALIDATION.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")
        create_markdown_artifact(VALIDATION.read_text(), key="validation", description=f"{VALIDATION} of {when}")


def grids(results: Iterable[Path]) -> None:
    """Thumbnails of all pictures among the results."""
    pictures = [file for path in results for file in ([path] if path.is_file() else sorted(path.rglob("*.png")))]
    pictures = [file for file in pictures if file.suffix == ".png"]
    if pictures:
        text = "\n\n".join(f"**{path}**\n\n![{path}]({small_jpeg(path)})" for path in pictures)
        create_markdown_artifact(text, key="grids", description="Pictures, made small; the files have full size")


def small_jpeg(path: Path) -> str:
    """A small JPEG of a picture as a data URL: Prefect stores no files."""
    from PIL import Image

    data = io.BytesIO()
    with Image.open(path) as file:
        picture = file.convert("RGB")
        picture.thumbnail((THUMBNAIL, 4 * THUMBNAIL))
        picture.save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def revision() -> None:
    """The git revision, and what differs from it in the working tree."""
    head = output_of("git", "log", "-1", "--format=%H%n%cs %s").strip().split("\n", 1)
    changed = output_of("git", "status", "--porcelain").strip("\n") or "nothing"
    text = f"`{head[0]}`\n\n{head[1]}\n\nNot committed:\n\n```\n{changed}\n```\n"
    create_markdown_artifact(text, key="revision", description=head[0])


def output_of(*command: str) -> str:
    """Standard output of a short command, which must succeed."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

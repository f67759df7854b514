"""Stage `shard`: pack the validated samples into WebDataset shards."""

import json
from pathlib import Path
from typing import Any

from usd import config
from usd.data.record import read_manifest
from usd.data.shards import INDEX, write_shard
from usd.errors import UsdError
from usd.files import atomic_directory, read_json
from usd.parallel import parallel_map
from usd.stages import run


def main(scenes: Path, annotated: Path, validation: Path, out: Path) -> None:
    """Pack SCENES and ANNOTATED into the shards OUT, if the summary in VALIDATION says that they are sound."""
    params = config.load().shard
    summary = validation / "summary.json"
    if not read_json(summary)["success"]:
        raise UsdError(f"{summary}: validation failed; mend the data and run `dvc repro validate`")
    frame = read_manifest(annotated)
    with atomic_directory(out) as scratch:
        jobs: list[tuple[Path, list[dict[str, Any]], Path, Path]] = []
        for split, part in frame.groupby("split"):
            rows = part.to_dict("records")
            for number, start in enumerate(range(0, len(rows), params.samples)):
                path = scratch / f"{split}-{number:04d}.tar"
                jobs.append((path, rows[start : start + params.samples], scenes, annotated))
        index: dict[str, list[dict[str, Any]]] = {}
        for entry in parallel_map(write_shard, jobs, "shard", chunk=1):
            index.setdefault(entry["shard"].rsplit("-", 1)[0], []).append(entry)
        (scratch / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    run(main)

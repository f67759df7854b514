"""Stage `annotate`: complete every sample with the maps of the task table."""

from pathlib import Path

from usd import config
from usd.annotators.completion import Job, complete
from usd.data.record import read_manifest, write_manifest
from usd.files import atomic_directory
from usd.parallel import parallel_map
from usd.stages import run


def main(scenes: Path, out: Path) -> None:
    """Complete the folder dataset SCENES with maps into OUT, which has one manifest row a sample."""
    params = config.load().annotate
    rows = read_manifest(scenes).to_dict("records")
    with atomic_directory(out) as scratch:
        for split in sorted({str(row["split"]) for row in rows}):
            (scratch / split).mkdir()
        jobs = [Job({str(name): value for name, value in row.items()}, params, scenes, scratch) for row in rows]
        write_manifest(list(parallel_map(complete, jobs, "annotate", chunk=32)), scratch)


if __name__ == "__main__":
    run(main)

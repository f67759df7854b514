"""Stage `annotate`: complete every sample with the maps of the task table."""

from pathlib import Path

from usd import config
from usd.annotators.completion import Completion, complete
from usd.data.record import MANIFEST, Manifest, sample_bytes, write_manifest
from usd.files import atomic_directory
from usd.parallel import parallel_map
from usd.stages import run


def main(scenes: Path, out: Path) -> None:
    """Complete the folder dataset SCENES with maps into OUT, which has one manifest row a sample."""
    params = config.load().annotate
    manifest = Manifest(scenes)
    with atomic_directory(out, MANIFEST) as scratch:
        for split in sorted(manifest.splits):
            (scratch / split).mkdir()
        jobs = (Completion(row, params, scenes, scratch) for row in manifest.rows())
        size = sample_bytes(scenes, str(next(manifest.rows())["key"]))
        write_manifest(parallel_map(complete, jobs, "annotate", len(manifest), size), scratch)


if __name__ == "__main__":
    run(main)

"""Stage `render`: draw the embedded dataset."""

from pathlib import Path

from usd import config
from usd.data.record import MANIFEST, SPLITS, write_manifest
from usd.files import atomic_directory
from usd.parallel import parallel_map
from usd.stages import run
from usd.synthesis.drawing import Drawing, draw

SEEDS = 10**9  # of scenes, that a seed of params.yaml has of its own: a tenth of them for each split


def main(out: Path) -> None:
    """Draw all splits into the folder dataset OUT; the splits' seeds are disjoint."""
    params = config.load().render
    with atomic_directory(out, MANIFEST) as scratch:
        jobs: list[Drawing] = []
        for number, split in enumerate(SPLITS):
            (scratch / split).mkdir()
            seed = params.test_seed if split == "test" else params.seed
            first = seed * SEEDS + number * SEEDS // 10  # a split keeps its scenes when another grows
            for index in range(params.counts[split]):
                jobs.append(Drawing(f"{split}-{index:05d}", first + index, params, scratch))
        jobs.sort(key=lambda job: job.key)  # as the manifest is
        write_manifest(parallel_map(draw, jobs, "render", len(jobs)), scratch)


if __name__ == "__main__":
    run(main)

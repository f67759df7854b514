"""Stage `render`: draw the embedded dataset."""

from functools import cache
from pathlib import Path

from usd import config
from usd.data.parallel import parallel_map
from usd.data.record import SPLITS, atomic_directory, encode_png, field_path, sha256, write_manifest
from usd.data.scenes import SceneRenderer
from usd.stages import run

FIELDS = ("image", "depth_mm", "class_id", "normal")


@cache
def renderer(image_size: int) -> SceneRenderer:
    """This process's renderer."""
    return SceneRenderer(image_size)


def draw(job: tuple[str, int, config.Render, Path]) -> dict[str, object]:
    """Draw one scene, write its fields and return its manifest row."""
    key, seed, params, out = job
    scene = renderer(params.image_size).render(seed, (params.objects[0], params.objects[1]))
    pictures = {field: encode_png(getattr(scene, field)) for field in FIELDS}
    for field, data in pictures.items():
        field_path(out, key, field).write_bytes(data)
    digests = {f"{field}_sha256": sha256(data) for field, data in pictures.items()}
    return {"key": key, "split": key.split("-")[0], "seed": seed, "caption": scene.caption} | digests


def main(out: Path) -> None:
    """Draw all splits into the folder dataset OUT; the splits' seeds are disjoint."""
    params = config.load().render
    with atomic_directory(out) as scratch:
        jobs: list[tuple[str, int, config.Render, Path]] = []
        for number, split in enumerate(SPLITS):
            (scratch / split).mkdir()
            first = params.seed * 10**9 + number * 10**8  # a split keeps its scenes when another grows
            for index in range(params.counts[split]):
                jobs.append((f"{split}-{index:05d}", first + index, params, scratch))
        write_manifest(list(parallel_map(draw, jobs, "render")), scratch)


if __name__ == "__main__":
    run(main)

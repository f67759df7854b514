"""Scenes as records of the dataset."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from usd import config
from usd.data.record import RENDERED, field_path
from usd.files import sha256
from usd.images import encode_png
from usd.synthesis.scenes import SceneRenderer


@dataclass(frozen=True)
class Drawing:
    """A scene to be drawn, and where to."""

    key: str
    seed: int
    params: config.Render
    out: Path


@cache
def renderer(image_size: int) -> SceneRenderer:
    """This process's renderer."""
    return SceneRenderer(image_size)


def draw(job: Drawing) -> dict[str, object]:
    """Draw one scene, write its fields and return its manifest row."""
    fewest, most = job.params.objects
    scene = renderer(job.params.image_size).render(job.seed, (fewest, most))
    pictures = {field: encode_png(getattr(scene, field)) for field in RENDERED}
    for field, data in pictures.items():
        field_path(job.out, job.key, field).write_bytes(data)
    digests = {f"{field}_sha256": sha256(data) for field, data in pictures.items()}
    return {"key": job.key, "split": job.key.split("-")[0], "seed": job.seed, "caption": scene.caption} | digests

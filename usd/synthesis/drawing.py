"""Scenes as records of the dataset."""

from functools import cache
from pathlib import Path

from usd import config
from usd.data.record import field_path
from usd.files import sha256
from usd.images import encode_png
from usd.synthesis.scenes import SceneRenderer

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

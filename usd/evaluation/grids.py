"""Picture grids: rows of labelled tiles."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

ZOOM, HEADER = 2, 16


def write_grid(rows: list[list[np.ndarray]], columns: list[str], path: Path) -> None:
    """Write rows of (H, W, 3) uint8 tiles under column titles as a PNG, twice enlarged."""
    _height, width = rows[0][0].shape[:2]
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)
    picture = PIL.Image.fromarray(sheet).resize(
        (sheet.shape[1] * ZOOM, sheet.shape[0] * ZOOM), PIL.Image.Resampling.NEAREST
    )
    page = PIL.Image.new("RGB", (picture.width, picture.height + HEADER), "white")
    page.paste(picture, (0, HEADER))
    draw = PIL.ImageDraw.Draw(page)
    for number, title in enumerate(columns):
        draw.text((number * width * ZOOM + 3, 2), title, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, optimize=True)

"""The report as one HTML file that is small enough for git."""

import base64
import io
import re
from pathlib import Path

import mistune
import PIL.Image

from usd.images import HEADER, ZOOM
from usd.tasks import TASKS

STYLE = """<!doctype html><meta charset="utf-8"><title>US-Diffusion report</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;margin:1rem 0;font-size:14px;display:block;overflow-x:auto}
td,th{padding:.3rem .7rem;border-bottom:1px solid #ddd;text-align:left}
td img{width:100%}img{max-width:100%;image-rendering:pixelated}h1,h2,h3{line-height:1.2}</style>"""
ROWS = 3  # of each grid; the PNG files have all
QUALITY = 60  # of WebP


def page(text: str, root: Path, grids: int) -> str:
    """Markdown as a page that holds its pictures: the first rows of the grids (of `grids` rows), at their true size."""
    html = str(mistune.create_markdown(plugins=["table"])(text))

    def data(match: re.Match[str]) -> str:
        path = root / match[1]
        if path.stem in TASKS:
            encoded, kind = first_rows(path, grids), "webp"
        else:  # a plot
            encoded, kind = path.read_bytes(), "png"
        return f'src="data:image/{kind};base64,{base64.b64encode(encoded).decode()}"'

    return STYLE + re.sub(r'src="([^":]+\.png)"', data, html)


def first_rows(path: Path, rows: int) -> bytes:
    """The head and the first rows of a grid of `rows` rows as WebP, without the grid's enlargement."""
    with PIL.Image.open(path) as grid:
        picture = grid.convert("RGB")
    height = HEADER + (picture.height - HEADER) * min(ROWS, rows) // rows
    small = picture.crop((0, 0, picture.width, height)).resize((picture.width // ZOOM, height // ZOOM))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY, method=6)
    return buffer.getvalue()

"""Small synthetic photographs for the tests of ingestion."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from usd.data.record import field_path, read_manifest
from usd.images import read_png
from usd.ingestion.findings import Finding
from usd.ingestion.ingest import Options, ingest


def sight(seed: int, width: int = 96, height: int = 72) -> np.ndarray:
    """Coloured blobs, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    layers = (cv2.resize(rng.normal(128, 70, (side, side, 3)), (width, height)) for side in (3, 6, 12))
    return np.clip(sum(layers) / 3, 0, 255).astype(np.uint8)


def image(seed: int, mode: str = "RGB", **size: int) -> PIL.Image.Image:
    """The same as a picture of some mode."""
    return PIL.Image.fromarray(sight(seed, **size)).convert(mode)


def save(path: Path, pixels: np.ndarray) -> None:
    """Write an array as a picture, or as .npy, below folders that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        PIL.Image.fromarray(pixels).save(path)


def take(root: Path, maps: str = "", splits: str = "", size: int = 32) -> dict[str, Finding]:
    """The findings of ingesting `root/source` into `root/out`, the last of each file."""
    (root / "maps.yaml").write_text(maps, encoding="utf-8")
    (root / "splits.csv").write_text(splits, encoding="utf-8")
    paths = [root / name if text else None for name, text in (("maps.yaml", maps), ("splits.csv", splits))]
    options = Options(size=size, maps=paths[0], splits=paths[1])
    return {finding.file: finding for finding in ingest(root / "source", root / "out", options)}


def notes(root: Path) -> str:
    """What the report says of the dataset."""
    return "\n".join(line for line in (root / "out/report.csv").read_text().splitlines() if ",noted," in line)


def kept(root: Path, source: str, field: str) -> np.ndarray:
    """A field of the sample that was made of the picture `source`."""
    row = read_manifest(root / "out").set_index("source").loc[source]
    return read_png(field_path(root / "out", row["key"], field))

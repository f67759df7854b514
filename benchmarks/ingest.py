"""How many photos a second `usd ingest` takes, beside a plain Pillow loop that does the same in one process.

python -m benchmarks.ingest
"""

import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import typer

from usd.data.likeness import perceptual_hash
from usd.files import sha256
from usd.images import encode_png
from usd.ingestion.ingest import Options, ingest
from usd.parallel import cores

DISTINCT = 40  # scenes; each is written again and again, so that making the photos takes less than reading them


def photo(seed: int, width: int = 1632, height: int = 1224) -> bytes:
    """A JPEG of 2 megapixels with shapes of all sizes and some grain, about half a megabyte like a camera's."""
    rng = np.random.default_rng(seed)
    layers = [rng.normal(0, 60 / level, (3 * 2**level, 4 * 2**level, 3)).astype(np.float32) for level in range(1, 9)]
    shapes = sum(cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC) for layer in layers)
    grain = rng.normal(128, 3, (height, width, 1)).astype(np.float32)
    data = BytesIO()
    PIL.Image.fromarray(np.clip(shapes + grain, 0, 255).astype(np.uint8)).save(data, "JPEG", quality=90)
    return data.getvalue()


def plain(source: Path, out: Path, size: int) -> None:
    """The loop that one would write: decode in full, turn upright, crop, scale, save, digest and hash each photo."""
    out.mkdir()
    for path in sorted(source.iterdir()):
        with PIL.Image.open(path) as file:
            upright = PIL.ImageOps.exif_transpose(file).convert("RGB")
        pixels = np.asarray(PIL.ImageOps.fit(upright, (size, size), PIL.Image.Resampling.LANCZOS))
        data = encode_png(pixels)
        (out / f"{path.stem}.png").write_bytes(data)
        sha256(path.read_bytes())
        sha256(data)
        perceptual_hash(pixels)


def main(photos: int = 1000, size: int = 64, least: float = 2.0) -> None:
    """Time both on PHOTOS photos of 2 megapixels; exit code 1 if ingest is not LEAST times as fast."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "photos")
        source.mkdir()
        scenes = [photo(seed) for seed in range(min(DISTINCT, photos))]
        for number in range(photos):
            (source / f"{number:04d}.jpg").write_bytes(scenes[number % len(scenes)])
        seconds = []
        for name, work in (("plain loop", plain), ("usd ingest", ingest_photos)):
            start = time.perf_counter()
            work(source, Path(folder, name), size)
            seconds.append(time.perf_counter() - start)
            print(f"{name}: {seconds[-1]:.1f} s, {photos / seconds[-1]:.0f} photos/s")
    print(f"{seconds[0] / seconds[1]:.1f} times as fast on {cores()} cores; {len(scenes[0]) // 1000} kB a photo")
    sys.exit(int(seconds[0] < least * seconds[1]))


def ingest_photos(source: Path, out: Path, size: int) -> None:
    """The same with this project."""
    ingest(source, out, Options(size=size))


if __name__ == "__main__":
    typer.run(main)

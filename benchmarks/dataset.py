"""Folder datasets of any size for the benchmarks: some rendered scenes, linked again and again under new keys."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.outcome import ROOT
from usd.config.profiles import apply
from usd.data.record import RENDERED, Manifest, field_path, write_manifest
from usd.files import sha256
from usd.images import encode_png
from usd.stages import annotate, render, shard
from usd.tasks import MAPS

SCENES = 24  # distinct
ROUNDS = 3  # of each side of a comparison
FOLDERS = {"scenes": RENDERED, "annotated": tuple(MAPS)}


def draw_scenes(folder: Path) -> None:
    """Render and annotate some scenes in a new project folder, which becomes the working directory."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", folder)
    profile = folder / "profile.yaml"
    profile.write_text(f"render: {{train: {SCENES}, val: 2, test: 2}}\n")
    apply(profile, folder / "params.yaml")
    os.chdir(folder)
    render.main(Path("drawn/scenes"))
    annotate.main(Path("drawn/scenes"), Path("drawn/annotated"))


def write_test_samples(samples: Iterable[tuple[str, dict[str, np.ndarray]]], folder: Path) -> None:
    """A folder dataset of test samples, each a caption and pictures by field."""
    (folder / "test").mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for caption, pictures in samples:
        key = f"test-{len(rows):05d}"
        row: dict[str, object] = {"key": key, "split": "test", "seed": len(rows), "caption": caption}
        for field, picture in pictures.items():
            data = encode_png(picture)
            field_path(folder, key, field).write_bytes(data)
            row[f"{field}_sha256"] = sha256(data)
        rows.append(row)
    write_manifest(rows, folder)


def link(samples: int, root: Path) -> None:
    """Folder datasets `scenes` and `annotated` below `root`, with `samples` training samples."""
    for name, fields in FOLDERS.items():
        rows = [row for row in Manifest(Path("drawn") / name).rows() if row["split"] == "train"]
        folder = root / name
        (folder / "train").mkdir(parents=True)
        for number in range(samples):
            for field in fields:
                source = field_path(Path("drawn") / name, str(rows[number % SCENES]["key"]), field)
                os.link(source, field_path(folder, f"train-{number:07d}", field))
        write_manifest((rows[n % SCENES] | {"key": f"train-{n:07d}"} for n in range(samples)), folder)
    (root / "validation").mkdir()
    (root / "validation/summary.json").write_text('{"success": true}')


def packed(samples: int) -> Path:
    """A folder with folder datasets and shards of `samples` samples; made once a run."""
    root = Path(f"of-{samples}")
    if not root.exists():
        link(samples, root)
        shard.main(root / "scenes", root / "annotated", root / "validation", root / "shards")
    return root

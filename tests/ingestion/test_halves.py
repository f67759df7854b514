"""Two pictures of one view side by side are refused; panoramas of the same shape stay."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.ingestion.scenery import save, sight, take
from usd.data.record import read_manifest
from usd.errors import UsdError

COUNT = 6
MAPS = {
    "classes": lambda ids: np.array([[90, 90, 90], [200, 30, 40], [20, 200, 90], [40, 60, 220]], np.uint8)[ids],
    "depth": lambda ids: np.repeat(np.uint8(60 * ids + np.linspace(0, 60, 64))[..., None], 3, -1),
    "edges": lambda ids: np.repeat(255 - cv2.Canny(np.uint8(60 * ids), 20, 40)[..., None], 3, -1),
}


def double(number: int, kind: str) -> np.ndarray:
    """A photograph of three things beside a map of them."""
    rng = np.random.default_rng(number)
    ids = np.zeros((64, 64), int)
    for thing in (1, 2, 3):
        left, top, width, height = rng.integers(4, 36, 4)
        ids[top : top + height, left : left + width] = thing
    colours = rng.integers(0, 256, (4, 3))
    return np.hstack([np.uint8(0.6 * colours[ids] + 0.4 * sight(number, 64, 64)), MAPS[kind](ids)])


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_photograph_beside_its_map_is_no_picture(kind: str, suffix: str, turned: bool, tmp_path: Path) -> None:
    for number in range(COUNT):
        pair = double(number, kind)
        save(tmp_path / f"source/train/{number}.{suffix}", np.roll(pair, 64, axis=1) if turned else pair)
    with pytest.raises(UsdError, match=rf"two pictures of one view side by side, .* docs/own-data\.md .* \({COUNT}\)$"):
        take(tmp_path)
    save(tmp_path / "source/other.jpg", sight(30))
    found = take(tmp_path)
    assert [name for name, each in found.items() if each.status == "accepted"] == ["other.jpg"]


@pytest.mark.parametrize("kind", ["photograph", "landscape", "alike", "two views"])
def test_panoramas_stay(kind: str, tmp_path: Path) -> None:
    for number in range(COUNT):
        wide = sight(number, 128, 64)
        if kind == "landscape":  # whose horizon is in both halves
            wide[30 + 3 * number :] //= 4
        if kind == "alike":  # as what turns with a camera: both halves show a door
            wide = wide // 4 + 60
            wide[20:60, 20:44] = wide[20:60, 84:108] = 230
        if kind == "two views":
            wide = np.hstack([sight(number, 64, 64), sight(number + 20, 64, 64)])
        save(tmp_path / f"source/{number}.png", wide)
    take(tmp_path)
    assert len(read_manifest(tmp_path / "out")) == COUNT


@pytest.mark.parametrize("said", ["folders", "captions", "few"])
def test_what_is_said_to_be_pictures_is_taken(said: str, tmp_path: Path) -> None:
    count = 2 if said == "few" else COUNT
    for number in range(count):
        save(tmp_path / f"source/wide/{number}.png", double(number, "edges"))
        if said == "captions":
            (tmp_path / f"source/wide/{number}.txt").write_text("an edge")
    take(tmp_path, "folders: {wide: image}" if said == "folders" else "")
    assert len(read_manifest(tmp_path / "out")) == count

"""Normal maps: z is in blue, or they are refused; right ones of any usual scene stay."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.ingestion.scenery import notes, save, sight, take
from usd.errors import UsdError
from usd.images import read_png
from usd.ingestion.meanings import Normals
from usd.ingestion.normals import in_bgr, to_normals
from usd.ingestion.pictures import Refused


def vectors(*shown: tuple[float, float, float]) -> np.ndarray:
    """Normal maps of stripes that face there, (72, 72, 3) uint8."""
    stripes = np.repeat(np.array(shown), 72 // len(shown), 0)[None].repeat(72, 0)
    return np.rint((stripes / np.linalg.norm(stripes, axis=-1, keepdims=True) + 1) * 127.5).astype(np.uint8)


FRONT, LEFT, RIGHT, FLOOR = (0, 0, 1), (1, 0, 0.05), (-1, 0, 0.05), (0, 1, 0.2)
WALL, ROOM = vectors(*[FRONT] * 8, (0.6, 0, 0.8)), vectors(LEFT, FLOOR, FRONT, FRONT, FLOOR, RIGHT)
ALONG = vectors(LEFT, LEFT, LEFT, LEFT, FLOOR, FRONT)  # a wall on the left


def bring(root: Path, pictures: list[np.ndarray]) -> None:
    """A source of normal maps."""
    for number, picture in enumerate(pictures):
        save(root / f"source/{number}.png", sight(number, 72, 72))
        save(root / f"source/{number}.normal.png", picture)


@pytest.mark.parametrize(
    ("picture", "count", "said"),
    [
        (WALL[..., ::-1], 1, "normals whose z seems to be in red, not blue; .* BGR order, .* save them as RGB"),
        (WALL[..., [0, 2, 1]], 1, "normals whose z seems to be in green, not blue"),
        (ROOM[..., ::-1], 8, "source: in 8 of 8 normal maps red looks like z, not blue; .* save them as RGB"),
        (ROOM[..., ::-1], 7, ""),  # too few to tell
        (WALL, 8, ""),
        (ROOM, 8, ""),
        (vectors(FLOOR, FLOOR, FLOOR, FLOOR, FLOOR, FRONT), 8, ""),  # a plain
        (vectors((0, 1, 0.16), (0, 1, 0.17)), 1, ""),  # a plain from far
    ],
)
def test_normals_in_bgr_order_are_refused(picture: np.ndarray, count: int, said: str, tmp_path: Path) -> None:
    bring(tmp_path, [picture] * count)
    if said:
        with pytest.raises(UsdError, match=said):
            take(tmp_path)
    else:
        take(tmp_path)
        assert f"{count} normal maps read as y up" in notes(tmp_path)


def test_right_normals_whose_red_looks_like_z_are_declared(tmp_path: Path) -> None:
    bring(tmp_path, [ALONG] * 9 + [ROOM])
    with pytest.raises(UsdError, match=r"in 9 of 10 normal maps .* if they are RGB, declare with --maps `normal: "):
        take(tmp_path)
    take(tmp_path, "normal: {y: up}")
    assert "10 normal maps read as y up (declared)" in notes(tmp_path)


@pytest.mark.parametrize("count", [2, 8])
def test_only_if_nearly_all_normals_look_like_bgr_they_are_refused(count: int, tmp_path: Path) -> None:
    bring(tmp_path, [ROOM[..., ::-1]] * count + [ROOM] * (10 - count))
    take(tmp_path)
    assert "10 normal maps read as y up (assumed)" in notes(tmp_path)


@pytest.mark.parametrize(
    ("picture", "bgr"),
    [
        (ALONG, True),
        (vectors(LEFT, LEFT, LEFT, LEFT, FLOOR, RIGHT), False),  # red is below 0
        (vectors((0.7, 0, 0.7)), False),  # blue is not about 0
        (vectors(FLOOR), False),  # red is about 0
    ],
)
def test_bgr_order_shows_in_red_and_in_blue(picture: np.ndarray, bgr: bool) -> None:
    assert in_bgr(picture) == bgr


@pytest.mark.parametrize("order", [1, -1])
def test_rendered_normals_are_in_order(order: int) -> None:
    """A scene of the project, and the same with red and blue exchanged."""
    pixels = read_png(ROOT / "data/examples/image2normal/target.png")[..., ::order]
    assert in_bgr(pixels) == (order == -1)
    with nullcontext() if order == 1 else pytest.raises(Refused):  # most of it is floor
        to_normals(pixels, Normals())

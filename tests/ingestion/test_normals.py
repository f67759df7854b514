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


@pytest.mark.parametrize(
    ("picture", "count", "said"),
    [
        (WALL[..., ::-1], 1, "normals that face red, with a z in blue near 0; .* BGR order, .* save them as RGB"),
        (WALL[..., [0, 2, 1]], 1, "normals that face green, with a z in blue near 0"),
        (ROOM[..., ::-1], 4, "source: in 4 of 4 normal maps red looks like z, not blue; .* save them as RGB"),
        (WALL, 4, ""),
        (ROOM, 4, ""),
        (vectors(LEFT, LEFT, LEFT, FLOOR, FLOOR, FRONT), 1, ""),  # along a wall on the left
        (vectors(FLOOR, FLOOR, FLOOR, FLOOR, FLOOR, FRONT), 4, ""),  # a plain
    ],
)
def test_normals_in_bgr_order_are_refused(picture: np.ndarray, count: int, said: str, tmp_path: Path) -> None:
    for number in range(count):
        save(tmp_path / f"source/{number}.png", sight(number, 72, 72))
        save(tmp_path / f"source/{number}.normal.png", picture)
    if said:
        with pytest.raises(UsdError, match=said):
            take(tmp_path)
    else:
        take(tmp_path)
        assert f"{count} normal maps read as y up" in notes(tmp_path)


@pytest.mark.parametrize("order", [1, -1])
def test_rendered_normals_are_in_order(order: int) -> None:
    """A scene of the project, and the same with red and blue exchanged."""
    pixels = read_png(ROOT / "data/examples/image2normal/target.png")[..., ::order]
    assert in_bgr(pixels) == (order == -1)
    with nullcontext() if order == 1 else pytest.raises(Refused):  # most of it is floor
        to_normals(pixels, Normals())

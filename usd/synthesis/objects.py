"""The objects of the embedded dataset: their meshes, sizes and colours.

`usd.data.classes.OBJECTS` names the kinds; each has a mesh here, in the same order.
"""

from dataclasses import dataclass

from usd.data.classes import OBJECTS


@dataclass(frozen=True)
class Mesh:
    """How an object is loaded, and how large it stands in the scene."""

    urdf: str
    size: float  # metres, the longest side in the scene
    colour: str | None = None  # its own colour in words; None: painted in a random `COLOURS` entry


@dataclass(frozen=True)
class Kind:
    """A kind of object: its name in captions, and its mesh."""

    name: str
    mesh: Mesh


MESHES: tuple[Mesh, ...] = (
    Mesh("duck_vhacd.urdf", 0.7, "yellow"),
    Mesh("teddy_vhacd.urdf", 0.8),
    Mesh("objects/mug.urdf", 0.6),
    Mesh("r2d2.urdf", 1.0, "blue and white"),
    Mesh("racecar/racecar.urdf", 1.0, "blue and red"),
    Mesh("soccerball.urdf", 0.6, "black and white"),
    Mesh("lego/lego.urdf", 0.5),
    Mesh("table/table.urdf", 1.1, "wooden"),
    Mesh("table_square/table_square.urdf", 0.9, "black and white"),
    Mesh("cube.urdf", 0.5),
    Mesh("domino/domino.urdf", 0.8, "black and white"),
    Mesh("jenga/jenga.urdf", 0.8, "brown"),
    Mesh("sphere2.urdf", 0.5),
    Mesh("tray/traybox.urdf", 1.0, "dark"),
    Mesh("husky/husky.urdf", 0.9, "black and yellow"),
    Mesh("kuka_iiwa/model.urdf", 1.3, "orange and blue"),
    Mesh("bicycle/bike.urdf", 1.1),
    Mesh("quadruped/minitaur.urdf", 0.9),
    Mesh("aliengo/aliengo.urdf", 1.0),
    Mesh("block.urdf", 0.9),
)
KINDS: tuple[Kind, ...] = tuple(Kind(name, mesh) for name, mesh in zip(OBJECTS, MESHES, strict=True))

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.15, 0.15),
    "green": (0.18, 0.65, 0.25),
    "blue": (0.2, 0.35, 0.9),
    "yellow": (0.95, 0.82, 0.2),
    "orange": (0.95, 0.55, 0.12),
    "purple": (0.55, 0.25, 0.75),
    "cyan": (0.25, 0.8, 0.85),
    "pink": (0.95, 0.6, 0.75),
    "white": (0.93, 0.93, 0.93),
    "grey": (0.5, 0.5, 0.5),
}

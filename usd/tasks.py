"""The task table: what a map is, and the two tasks each map gives rise to.

A new task is one row in `MAPS` and one function in `usd.annotators.maps`: see docs/add-a-task.md.
"""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["image2map", "map2image"]
DIRECTIONS: tuple[Direction, ...] = ("image2map", "map2image")


@dataclass(frozen=True)
class Map:
    """A picture derived from an image: RGB, 8 bit, values in [0, 1] when read as a tensor."""

    name: str
    prompt: str  # of Image2Map where no example pair is shown
    trained: bool  # False: kept unseen in training, used to test generalisation
    feedback_weight: float = 1.0  # of FAL, 0 is off; 0.5 for segmentation (ControlNet++, arXiv 2404.07987)
    directions: bool = False  # red is (x + 1) / 2, an x component: mirroring a picture changes its sign


MAPS: dict[str, Map] = {
    row.name: row
    for row in (
        Map("depth", "depth map", trained=True),  # inverse depth: 0 far plane, 1 near plane
        Map("hed", "hed map", trained=True),  # soft edges: 0 flat, 1 strong edge
        Map("seg", "segmentation map", trained=True, feedback_weight=0.5),  # one palette colour per class
        Map("normal", "normal map", trained=False, directions=True),  # camera-space normal, (n + 1) / 2
        Map("canny", "canny map", trained=False),  # binary edges: 0 or 1
        Map("outpaint", "outpainting map", trained=False),  # the image with its border greyed out
    )
}
FIELDS: tuple[str, ...] = ("image", *MAPS)  # the pictures of a sample


def has_directions(field: str) -> bool:
    """Whether red is an x component, so that mirroring the picture changes its sign; the image itself has none."""
    return field in MAPS and MAPS[field].directions


def task_name(map_name: str, direction: str) -> str:
    """`image2depth` or `depth2image`."""
    return f"image2{map_name}" if direction == "image2map" else f"{map_name}2image"


@dataclass(frozen=True)
class Task:
    """Do to the query what `source → target` shows."""

    map: Map
    direction: Direction

    @property
    def name(self) -> str:
        """`image2depth` or `depth2image`."""
        return task_name(self.map.name, self.direction)

    @property
    def source(self) -> str:
        """The record field of the query and of the example's source."""
        return "image" if self.direction == "image2map" else self.map.name

    @property
    def target(self) -> str:
        """The record field of the result and of the example's target."""
        return self.map.name if self.direction == "image2map" else "image"

    def prompt(self, caption: str, named: bool) -> str:
        """The caption for Map2Image; for Image2Map the map's name (arXiv 2305.01115) if it is `named`, else nothing.

        It is named only where no example pair is shown: a prompt that named the map would make the pair superfluous.
        """
        if self.direction == "map2image":
            return caption
        return self.map.prompt if named else ""


TASKS: dict[str, Task] = {
    task.name: task for direction in DIRECTIONS for task in (Task(m, direction) for m in MAPS.values())
}
TRAINED: tuple[Task, ...] = tuple(task for task in TASKS.values() if task.map.trained)
UNSEEN: tuple[Task, ...] = tuple(task for task in TASKS.values() if not task.map.trained)

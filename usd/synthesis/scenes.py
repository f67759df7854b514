"""The embedded dataset: scenes of `pybullet_data` meshes, drawn by pybullet's software renderer.

Every scene is a pure function of its seed, so any number of workers draws the same bytes.
Bodies are loaded once per process; those not in a scene are made transparent, which the renderer skips.
Sines and cosines differ in their last bit from processor to processor, so what is made of them is rounded (`_exact`)
before it reaches the renderer.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from usd.data.camera import FAR, FIELD_OF_VIEW, NEAR, normals
from usd.synthesis.objects import COLOURS, KINDS, Kind

SUPERSAMPLING = 2  # rendered pixels per output pixel and axis
CLEAR = (1.0, 1.0, 1.0, 0.0)  # a transparent body costs the renderer nothing


@dataclass(frozen=True)
class Scene:
    """One rendered scene; every array is (S, S, …) and aligned pixel for pixel."""

    image: np.ndarray  # (S, S, 3) uint8 RGB
    depth_mm: np.ndarray  # (S, S) uint16, metric depth along the optical axis in millimetres, FAR where nothing is hit
    class_id: np.ndarray  # (S, S) uint8, index into CLASSES
    normal: np.ndarray  # (S, S, 3) uint8, camera-space normal (x right, y up, z towards the viewer), (n + 1) / 2
    caption: str


@contextmanager
def _quiet_c_output() -> Iterator[None]:
    """Silence the URDF importer, which warns on the C level about every mesh."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, null):
            os.close(descriptor)


class SceneRenderer:
    """Draws scenes by seed. One per process: it owns a pybullet client with all bodies loaded."""

    def __init__(self, image_size: int) -> None:
        with _quiet_c_output():
            import pybullet
            import pybullet_data

            self.bullet = pybullet
            self.client = pybullet.connect(pybullet.DIRECT)
            pybullet.setAdditionalSearchPath(pybullet_data.getDataPath(), physicsClientId=self.client)
            self.size = image_size
            self.floors = [self._box_floor(), self._load("plane.urdf")]
            self.bodies = [self._load_to_size(kind) for kind in KINDS]
            self.own_colours = {body: self._colours(body) for body, _ in self.bodies}
        for body in self.floors + [body for body, _ in self.bodies]:
            self._paint(body, CLEAR)

    def close(self) -> None:
        """Release the pybullet client."""
        self.bullet.disconnect(self.client)

    def render(self, seed: int, objects: tuple[int, int]) -> Scene:
        """Draw the scene of `seed` with between `objects[0]` and `objects[1]` objects (inclusive)."""
        rng = np.random.default_rng(seed)
        count = int(rng.integers(objects[0], objects[1] + 1))
        chosen = rng.choice(len(KINDS), size=count, replace=False)
        names = [self._place(int(index), spot, rng) for index, spot in zip(chosen, _spots(count, rng), strict=True)]
        floor_body, floor_name = self._lay_floor(rng)
        try:
            rgb, depth, owner = self._photograph(rng)
        finally:
            for body in [self.bodies[index][0] for index in chosen] + [floor_body]:
                self._paint(body, CLEAR)
        class_of = {floor_body: 1} | {self.bodies[i][0]: 2 + int(i) for i in chosen}
        class_id = np.zeros_like(owner, dtype=np.uint8)
        for body, label in class_of.items():
            class_id[owner == body] = label
        sky = _gradient(rng.uniform(0.45, 1.0, (2, 3)), self.size)  # (S, 1, 3): a vertical gradient
        image = np.where((class_id == 0)[..., None], np.rint(sky * 255), rgb).astype(np.uint8)
        visible = [name for index, name in zip(chosen, names, strict=True) if (class_id == 2 + index).any()]
        return Scene(
            image=image,
            depth_mm=np.rint(depth * 1000).astype(np.uint16),
            class_id=class_id,
            normal=normals(depth, FAR),
            caption=_caption(visible, floor_name),
        )

    def _load(self, urdf: str, scaling: float = 1.0) -> int:
        return int(self.bullet.loadURDF(urdf, useFixedBase=True, globalScaling=scaling, physicsClientId=self.client))

    def _bounds(self, body: int) -> tuple[np.ndarray, np.ndarray]:
        links = [-1, *range(self.bullet.getNumJoints(body, physicsClientId=self.client))]
        solid = [i for i in links if self.bullet.getCollisionShapeData(body, i, physicsClientId=self.client)]
        boxes = np.array([self.bullet.getAABB(body, i, physicsClientId=self.client) for i in solid])
        return boxes[:, 0].min(0), boxes[:, 1].max(0)

    def _load_to_size(self, kind: Kind) -> tuple[int, np.ndarray]:
        """Load a kind scaled to its size; returns (body, offset that centres it and stands it on the floor)."""
        probe = self._load(kind.mesh.urdf)
        low, high = self._bounds(probe)
        self.bullet.removeBody(probe, physicsClientId=self.client)
        body = self._load(kind.mesh.urdf, float(_exact(kind.mesh.size / (high - low).max())))
        low, high = self._bounds(body)
        origin, _ = self.bullet.getBasePositionAndOrientation(body, physicsClientId=self.client)
        return body, _exact(np.array(origin) - np.array([*(low + high)[:2] / 2, low[2]]))

    def _box_floor(self) -> int:
        shape = self.bullet.createVisualShape(
            self.bullet.GEOM_BOX, halfExtents=[15, 15, 0.01], physicsClientId=self.client
        )
        floor = self.bullet.createMultiBody(
            baseVisualShapeIndex=shape, basePosition=[0, 0, -0.01], physicsClientId=self.client
        )
        return int(floor)

    def _colours(self, body: int) -> dict[int, tuple[float, ...]]:
        """The colour each link was loaded with."""
        shapes = self.bullet.getVisualShapeData(body, physicsClientId=self.client)
        return {link: tuple(rgba) for _, link, _, _, _, _, _, rgba, *_ in shapes}

    def _paint(self, body: int, rgba: tuple[float, float, float, float]) -> None:
        for link in range(-1, self.bullet.getNumJoints(body, physicsClientId=self.client)):
            self.bullet.changeVisualShape(body, link, rgbaColor=rgba, physicsClientId=self.client)

    def _place(self, index: int, spot: np.ndarray, rng: np.random.Generator) -> str:
        """Put a body on its spot, turned at random; returns its words in the caption."""
        kind, (body, offset) = KINDS[index], self.bodies[index]
        yaw = rng.uniform(0, 2 * np.pi)
        turn = _exact([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)])  # a quaternion
        c, s = np.cos(yaw), np.sin(yaw)
        position = [
            spot[0] + c * offset[0] - s * offset[1],
            spot[1] + s * offset[0] + c * offset[1],
            offset[2],
        ]
        self.bullet.resetBasePositionAndOrientation(body, _exact(position), turn, physicsClientId=self.client)
        word = kind.mesh.colour or str(rng.choice(list(COLOURS)))
        if kind.mesh.colour:
            for link, rgba in self.own_colours[body].items():
                self.bullet.changeVisualShape(body, link, rgbaColor=rgba, physicsClientId=self.client)
        else:
            self._paint(body, (*COLOURS[word], 1))
        return f"{_article(word)} {word} {kind.name}"

    def _lay_floor(self, rng: np.random.Generator) -> tuple[int, str]:
        word = str(rng.choice(list(COLOURS)))
        tiled = bool(rng.random() < 0.3)
        body = self.floors[int(tiled)]
        red, green, blue = np.clip(np.array(COLOURS[word]) * 0.75 + 0.2, 0, 1)
        self._paint(body, (red, green, blue, 1))
        return body, f"{word} tiled floor" if tiled else f"{word} floor"

    def _photograph(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A camera and a light at random; returns RGB (S, S, 3) floats, depth (S, S) metres, body ids (S, S)."""
        yaw, pitch, distance = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(-50, -12)), rng.uniform(1.9, 3.0)
        target = np.array([*rng.uniform(-0.2, 0.2, 2), rng.uniform(0.2, 0.45)])
        behind = [np.cos(pitch) * np.sin(yaw), -np.cos(pitch) * np.cos(yaw), -np.sin(pitch)]
        view = self.bullet.computeViewMatrix(_exact(target + distance * np.array(behind)), target, [0, 0, 1])
        edge = float(_exact(NEAR * np.tan(np.radians(FIELD_OF_VIEW) / 2)))
        projection = self.bullet.computeProjectionMatrix(-edge, edge, -edge, edge, NEAR, FAR)
        azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.6)
        side = self.size * SUPERSAMPLING
        take = partial(
            self.bullet.getCameraImage,
            viewMatrix=view,
            projectionMatrix=projection,
            lightDirection=_exact([np.cos(azimuth), np.sin(azimuth), height]),
            lightColor=list(rng.uniform(0.85, 1.0, 3)),
            lightDistance=8,
            shadow=0,  # a shadow pass makes a scene three times as slow
            lightAmbientCoeff=rng.uniform(0.45, 0.65),
            lightDiffuseCoeff=rng.uniform(0.4, 0.6),
            lightSpecularCoeff=rng.uniform(0.0, 0.15),
            renderer=self.bullet.ER_TINY_RENDERER,
            physicsClientId=self.client,
        )
        _, _, rgba, zbuffer, owner = take(side, side)
        take(8, 8)  # the renderer's last bit alternates between calls; a throw-away call keeps scenes deterministic
        step = SUPERSAMPLING
        colour = np.reshape(rgba, (self.size, step, self.size, step, 4))[..., :3].mean((1, 3))
        zbuffer = np.reshape(zbuffer, (side, side))[::step, ::step].astype(np.float64)
        depth = FAR * NEAR / (FAR - (FAR - NEAR) * zbuffer)
        return np.rint(colour), np.clip(depth, NEAR, FAR), np.reshape(owner, (side, side))[::step, ::step]


def _exact(values: Any) -> np.ndarray:
    """The values without the last digits, in which processors differ."""
    return np.round(np.asarray(values), 6)


def _gradient(ends: np.ndarray, size: int) -> np.ndarray:
    """Colours from `ends[0]` at the top to `ends[1]` at the bottom, (size, 1, 3)."""
    return np.linspace(ends[0], ends[1], size)[:, None]


def _spots(count: int, rng: np.random.Generator) -> np.ndarray:
    """Spots (count, 2) on the floor, as far apart as 32 random draws allow."""
    draws = rng.uniform(-0.85, 0.85, (32, count, 2))
    gaps = np.linalg.norm(draws[:, :, None] - draws[:, None], axis=-1) + 9 * np.eye(count)
    best: np.ndarray = draws[gaps.min((1, 2)).argmax()]
    return best


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _caption(names: list[str], floor: str) -> str:
    *most, last = names or ["nothing"]
    things = f"{', '.join(most)} and {last}" if most else last
    return f"{things} on {_article(floor)} {floor}"

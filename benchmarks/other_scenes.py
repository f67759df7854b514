"""Test scenes of another renderer: Mitsuba follows the light between balls, boxes and cylinders on a floor.

They share with the embedded dataset only the camera's lens and the range of its distances and heights. Objects, sizes,
materials and lights are others, with shadows and reflections. The palette has no class for these objects, so only
depth and edges are of use.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dataset import write_test_samples
from usd.data.camera import FAR, FIELD_OF_VIEW, NEAR, normals

PATHS = 128  # of light, a pixel


def render_scenes(folder: Path, count: int, size: int) -> None:
    """A folder dataset with `count` test scenes, `size` pixels wide; each is a function of its number."""
    import mitsuba

    mitsuba.set_variant("scalar_rgb")
    scenes = (("objects on a floor", _render(mitsuba, seed, size)) for seed in range(count))
    write_test_samples(scenes, folder)


def _render(mitsuba: Any, seed: int, size: int) -> dict[str, np.ndarray]:
    """All fields of a rendered sample."""
    scene = mitsuba.load_dict(_scene(mitsuba, np.random.default_rng(seed), size))
    light = mitsuba.Bitmap(mitsuba.render(scene, spp=PATHS, seed=seed))
    image = light.convert(mitsuba.Bitmap.PixelFormat.RGB, mitsuba.Struct.Type.UInt8, srgb_gamma=True)
    depth = _depth(mitsuba, scene, size)
    return {
        "image": np.array(image),
        "depth_mm": np.rint(depth * 1000).astype(np.uint16),
        "class_id": (depth < FAR).astype(np.uint8),
        "normal": normals(depth, FAR),
    }


def _depth(mitsuba: Any, scene: Any, size: int) -> np.ndarray:
    """Depth (S, S) along the optical axis in metres, through the middle of each pixel; FAR where nothing is hit."""
    camera = scene.sensors()[0]
    ray_through = partial(camera.sample_ray, 0.0, 0.5, sample3=[0.5, 0.5])
    axis = np.array(ray_through(sample2=[0.5, 0.5])[0].d)
    origin = np.array(camera.world_transform().translation())
    depth = np.full((size, size), FAR)
    for y, x in np.ndindex(size, size):
        ray, _ = ray_through(sample2=[(x + 0.5) / size, (y + 0.5) / size])
        hit = scene.ray_intersect(ray)
        if hit.is_valid():
            depth[y, x] = np.dot(np.array(hit.p) - origin, axis)
    return np.minimum(depth, FAR)


def _scene(mitsuba: Any, rng: np.random.Generator, size: int) -> dict[str, Any]:
    """What Mitsuba loads: camera, lights, floor and one to four objects."""
    transform = mitsuba.ScalarTransform4f()
    yaw, pitch, distance = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(12, 50)), rng.uniform(1.9, 3.0)
    behind = [np.cos(pitch) * np.sin(yaw), -np.cos(pitch) * np.cos(yaw), np.sin(pitch)]
    target = np.array([*rng.uniform(-0.2, 0.2, 2), rng.uniform(0.2, 0.45)])
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.6)
    sky, sun = rng.uniform(0.3, 0.7, 3), rng.uniform(0.8, 1.6, 3)
    scene: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 6},
        "camera": {
            "type": "perspective",
            "fov": FIELD_OF_VIEW,
            "near_clip": NEAR,
            "to_world": transform.look_at(list(target + distance * np.array(behind)), list(target), [0, 0, 1]),
            "film": {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}},
        },
        "sky": {"type": "constant", "radiance": _rgb(sky)},
        "sun": {
            "type": "directional",
            "direction": [-np.cos(azimuth), -np.sin(azimuth), -height],
            "irradiance": _rgb(sun),
        },
        "floor": {"type": "rectangle", "to_world": transform.scale(15), "bsdf": _floor(mitsuba, rng)},
    }
    for number in range(int(rng.integers(1, 5))):
        scene |= _object(mitsuba, rng, f"object{number}")
    return scene


def _floor(mitsuba: Any, rng: np.random.Generator) -> dict[str, Any]:
    colour = rng.uniform(0.1, 0.9, 3)
    if rng.random() < 0.7:
        return {"type": "diffuse", "reflectance": _rgb(colour)}
    tiles = mitsuba.ScalarTransform3f().scale(float(rng.uniform(15, 40)))
    board = {"type": "checkerboard", "color0": _rgb(colour), "color1": _rgb(rng.uniform(0.1, 0.9, 3)), "to_uv": tiles}
    return {"type": "diffuse", "reflectance": board}


def _object(mitsuba: Any, rng: np.random.Generator, name: str) -> dict[str, Any]:
    """A ball, a box or a cylinder, somewhere on the floor."""
    radius, height, turn = rng.uniform(0.15, 0.4), rng.uniform(0.2, 1.0), rng.uniform(0, 360)
    kind = rng.choice(["ball", "box", "cylinder"])
    rough = {"type": "roughplastic", "diffuse_reflectance": _rgb(rng.uniform(0.05, 0.95, 3)), "alpha": 0.2}
    matter = {"type": "twosided", "bsdf": rough}
    spot = mitsuba.ScalarTransform4f().translate([*rng.uniform(-0.85, 0.85, 2), 0])
    if kind == "ball":
        return {name: {"type": "sphere", "to_world": spot.translate([0, 0, radius]).scale(radius), "bsdf": matter}}
    if kind == "box":
        place = spot.rotate([0, 0, 1], turn).translate([0, 0, height / 2])
        half = [radius, float(rng.uniform(0.1, 0.4)), height / 2]
        return {name: {"type": "cube", "to_world": place.scale(half), "bsdf": matter}}
    side = {"type": "cylinder", "to_world": spot.scale([radius, radius, height]), "bsdf": matter}
    lid = {"type": "disk", "to_world": spot.translate([0, 0, height]).scale(radius), "bsdf": matter}
    return {name: side, f"{name}_lid": lid}


def _rgb(values: np.ndarray) -> dict[str, Any]:
    return {"type": "rgb", "value": [float(value) for value in values]}

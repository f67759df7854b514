"""The maps that a sample does not bring: one function a map, the rows of `usd.tasks.MAPS`."""

from collections.abc import Callable

import cv2
import numpy as np
import torch

from usd.annotators.bundled import Annotator, soft_edges
from usd.annotators.pretrained import Pretrained
from usd.config import Annotate
from usd.data.camera import normals
from usd.data.classes import PALETTE, nearest_class
from usd.data.record import TRUTH
from usd.errors import UsdError
from usd.images import to_array, to_tensor

Fields = dict[str, np.ndarray]  # the record fields a map may read


def depth(fields: Fields, params: Annotate) -> np.ndarray:
    """Inverse depth: 0 at `far` and beyond, 1 at `near` and before. (H, W, 3) uint8."""
    metres = np.maximum(fields["depth_mm"].astype(np.float64) / 1000, 1e-3)
    value: np.ndarray = (1 / metres - 1 / params.far) / (1 / params.near - 1 / params.far)
    return _grey(np.clip(value, 0, 1))


def hed(fields: Fields, params: Annotate) -> np.ndarray:
    """Soft edges of the image, in double precision: the same bytes on every processor. (H, W, 3) uint8."""
    with torch.no_grad():
        edges: np.ndarray = to_array(soft_edges(to_tensor(fields["image"])[None].double()))[0]
    return edges


def seg(fields: Fields, params: Annotate) -> np.ndarray:
    """The palette colour of each pixel's class. (H, W, 3) uint8."""
    return PALETTE[fields["class_id"]]


def normal(fields: Fields, params: Annotate) -> np.ndarray:
    """Camera-space normals of the depth map, where none were rendered. (S, S, 3) uint8."""
    value = fields["depth"][..., 0] / 255
    metres = 1 / (value * (1 / params.near - 1 / params.far) + 1 / params.far)
    return normals(metres, params.far)


def canny(fields: Fields, params: Annotate) -> np.ndarray:
    """Canny edges of the image, 0 or 255. (H, W, 3) uint8."""
    edges = cv2.Canny(cv2.cvtColor(fields["image"], cv2.COLOR_RGB2GRAY), params.canny_low, params.canny_high)
    return _grey(edges / 255.0)


def outpaint(fields: Fields, params: Annotate) -> np.ndarray:
    """The image with its border in mid grey. (H, W, 3) uint8."""
    height, width = fields["image"].shape[:2]
    top, left = round(height * params.outpaint_margin), round(width * params.outpaint_margin)
    out = np.full_like(fields["image"], 128)
    out[top : height - top, left : width - left] = fields["image"][top : height - top, left : width - left]
    return out


DERIVE: dict[str, Callable[[Fields, Annotate], np.ndarray]] = {
    "depth": depth,
    "hed": hed,
    "seg": seg,
    "normal": normal,
    "canny": canny,
    "outpaint": outpaint,
}


def derive(name: str, fields: Fields, params: Annotate, annotators: dict[str, Annotator]) -> np.ndarray:
    """A map from the ground truth, the image or earlier maps; by an annotator where there is no ground truth.

    What needs none, such as soft edges, is computed from the image, unless a pretrained network is given for it.

    Raises:
        UsdError: there is neither.
    """
    network = annotators.get(name)
    if TRUTH[name] in fields if name in TRUTH else not isinstance(network, Pretrained):
        return DERIVE[name](fields, params)
    if network is None:
        raise UsdError(f"no {name} map, and no annotators to make it; name their folder in annotate.networks")
    return annotate(name, network, fields["image"])


def annotate(name: str, network: Annotator, image: np.ndarray) -> np.ndarray:
    """The map that a network reads off an image, both (H, W, 3) uint8; a class map has the colours of its palette."""
    with torch.no_grad():
        found: np.ndarray = to_array(network(to_tensor(image)[None]))[0]
    if name != "seg":
        return found
    palette = network.palette if isinstance(network, Pretrained) and network.palette is not None else PALETTE
    return np.take(palette, nearest_class(found, palette), axis=0)


def _grey(value: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(value * 255).astype(np.uint8)[..., None], 3, axis=-1)

"""Map files brought to the form of the record: their values by the declared or detected meaning, upright, square."""

import numpy as np
import PIL.Image
import PIL.ImageOps
from scipy.ndimage import distance_transform_edt

from usd.images import few_colours, same_shape, turn_with
from usd.ingestion import colormaps
from usd.ingestion.classmaps import form_of, recolour
from usd.ingestion.meanings import Depth, Maps, Normals, Segmentation, SoftEdges
from usd.ingestion.normals import to_normals
from usd.ingestion.pictures import TURNS, Picture, Refused, turned
from usd.ingestion.raw import Raw
from usd.tasks import MAPS

DEPTH_REMEDY = "say what they mean with --maps, such as `depth: {kind: depth, unit: mm, near: 0.5, far: 10}`"
UNIT_REMEDY = (
    "`kind: depth` alone does not say how far they are; add a unit, such as `unit: mm, near: 0.5, far: 10`, or "
    "`unit: relative` if the largest value of the file's type, or a `far` beside it, is farthest"
)
INVERSE_REMEDY = "say which become 1 and 0, such as `depth: {kind: inverse, near: 34, far: 4}`"
LOW_REMEDY = (
    "say which become 1 and 0, such as `unit: relative, near: 300, far: 4095`; or, where they are proportional to "
    "distance, add a unit, such as `unit: mm, near: 0.5, far: 10`, or `unit: 1` for near and far in values of the file"
)
TURN_REMEDY = "say with --maps whether they are turned too: `orientation: stored` or `orientation: upright`"
DIMMEST = 0.1  # of the largest value: undeclared depth maps and soft edges reach more
LEAST_BEYOND, MOST_BEYOND = 0.01, 0.9  # share of the readings: less is not said, more is refused


def to_picture(raw: Raw, field: str, maps: Maps, image: Picture, size: int) -> Picture:
    """A map in the form of the record, beside its image.

    Raises:
        Refused: its shape, orientation or values do not fit or cannot be known.
    """
    turn, repairs = _turn(raw, maps, image), list(raw.repairs)
    if turn != 1:
        if MAPS[field].directions:
            raise Refused(f"a {field} map of a turned picture; save both upright, since its vectors would turn too")
        repairs.append("EXIF rotation")
    shape = 1 / raw.shape if turn >= 5 else raw.shape
    if not same_shape(shape, image.shape):
        raise Refused("of another shape than its image")
    missing = 0.0
    if field == "depth":
        value, valid = _depth(raw, maps.depth)
        if (beyond := _beyond(value[valid], maps.depth)) > MOST_BEYOND:
            raise Refused(
                f"{beyond:.0%} of its readings are beyond depth.near and depth.far; correct these, or depth.unit"
            )
        if beyond >= LEAST_BEYOND:
            repairs.append(f"beyond near or far: {beyond:.1%}")
        pixels, missing = _fill_depth(turned(value, turn), turned(valid, turn), size, maps.depth or Depth())
    elif field == "seg":
        meaning = maps.seg or Segmentation()
        colours, known = recolour(form_of(raw, meaning).values, meaning)
        pixels, missing = _fill_classes(turned(colours, turn), turned(known, turn), size, meaning)
    elif field == "normal":
        pixels = to_normals(_fit(turned(_three(raw, field), turn), size), maps.normal or Normals())
    elif field == "hed":
        pixels = _edges(turned(_three(raw, field), turn), size, maps.hed or SoftEdges())
    else:
        pixels = _stored(turned(_three(raw, field), turn), size)
    if missing:
        repairs.append(f"missing readings filled: {missing:.1%}" if field == "depth" else f"void filled: {missing:.1%}")
    return Picture(pixels, shape, tuple(repairs), raw.sha256, missing=missing)


def _turn(raw: Raw, maps: Maps, image: Picture) -> int:
    """The orientation by which a map is turned: its own, or that of an image whose stored pixels it was made from."""
    if raw.orientation in TURNS:
        return raw.orientation
    if image.orientation not in TURNS or maps.orientation == "upright":
        return 1
    if maps.orientation == "stored":
        return image.orientation
    if (found := turn_with(raw.shape, image.shape, image.orientation)) is None:
        raise Refused(f"its image has an EXIF orientation and fits maps turned or not; {TURN_REMEDY}")
    return found


def _three(raw: Raw, field: str) -> np.ndarray:
    """The map as (H, W, 3) uint8 colours."""
    values = raw.values if raw.palette is None else raw.palette[raw.values]
    if raw.opaque is not None:
        raise Refused(f"a {field} map with transparency; save it without alpha")
    if values.dtype != np.uint8:
        raise Refused(f"a {field} map of {values.dtype} values; save it as 8-bit PNG")
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=-1)


def _depth(raw: Raw, declared: Depth | None) -> tuple[np.ndarray, np.ndarray]:
    """Inverse depth in [0, 1] and where there is a reading, (H, W) each."""
    meaning, values = declared or Depth(), raw.values
    if raw.narrowed:
        raise Refused("colours of 16 bits; save depth as a 16-bit grey PNG or as .npy")
    if raw.palette is not None:
        values = raw.palette[values]
    values, known = _grey(values, meaning.colormap)
    if declared is None or not declared.scaled:
        remedy = UNIT_REMEDY if meaning.kind == "depth" else DEPTH_REMEDY
        if values.dtype.kind == "f" or raw.full > 255:
            raise Refused(f"depth values of {'floating point' if values.dtype.kind == 'f' else '16 bits'}: {remedy}")
    number = values.astype(np.float64)
    valid = known & np.isfinite(number) & (number != meaning.gap if meaning.gap is not None else True)
    if meaning.measured and meaning.missing != "none":
        valid &= number > 0
    if raw.opaque is not None:
        valid &= raw.opaque
    if not meaning.bounded and meaning.colormap is None and valid.any():
        _check_low(float(number[valid].max()), raw.full, declared)
    return _inverse(np.where(valid, number, 1.0), meaning, raw.full), valid


def _check_low(most: float, full: float, declared: Depth | None) -> None:
    """Refuse values that would be a few levels of grey, as nothing but the file's type says which becomes 1 or 0."""
    if 0 < most <= DIMMEST * full:
        remedy, same = DEPTH_REMEDY, "kind: inverse, near"
        if declared is not None and declared.scaled:
            remedy = INVERSE_REMEDY
        if declared is not None and declared.kind == "depth":
            remedy, same = LOW_REMEDY, "kind: depth, unit: relative, far"
        remedy += f"; if they are meant so, `depth: {{{same}: {full:.10g}}}` keeps the scale of the file's type"
        raise Refused(f"depth values of up to {most:.10g} of {full:.10g}, of which few greys would be left: {remedy}")


def _grey(values: np.ndarray, colormap: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The values of a depth map that may be coloured, and where its colours are such values, (H, W) each."""
    if values.ndim == 3 and colormaps.packed(values):
        raise Refused("in colour, as its channels are the bytes of one number; save the numbers as .npy or 16-bit PNG")
    if colormap is not None:
        if values.ndim == 2 or not colormaps.fits(values, colormap):
            found = "grey" if values.ndim == 2 or colormaps.is_grey(values) else colormaps.detect(values) or "otherwise"
            raise Refused(f"not coloured with {colormap}, as depth.colormap says, but {found}; correct it")
        return colormaps.values(values, colormap)
    if values.ndim == 2 or colormaps.is_grey(values):
        return values if values.ndim == 2 else values[..., 1], np.ones(values.shape[:2], bool)
    if name := colormaps.detect(values):
        raise Refused(f"coloured with {name}: declare it with --maps, `depth: {{colormap: {name}}}`, or save grey")
    raise Refused("in colour: a depth map is grey, or declares its `depth: {colormap: …}` with --maps")


def _inverse(number: np.ndarray, meaning: Depth, full: float) -> np.ndarray:
    """The record's inverse depth, 0 far and 1 near, of the values in a file."""
    far = meaning.far or 0.0
    if meaning.metric and meaning.near is not None:
        metres = np.maximum(number * meaning.scale, 1e-6)
        found = (1 / metres - 1 / far) / (1 / meaning.near - 1 / far)
    elif meaning.kind == "depth":
        near = meaning.near or 0.0
        found = 1 - (number - near) / ((far if meaning.bounded else full) - near)
    elif far >= (near := meaning.near or full):
        raise Refused(f"depth.far: {far:g} is not below {near:g}, which becomes 1; lower it, or add depth.near")
    else:
        scale = meaning.scale if meaning.kind == "disparity" else 1.0
        found = (number * scale - far) / (near - far)
    if not meaning.bounded and (found.min() < 0 or found.max() > 1):
        remedy = UNIT_REMEDY if meaning.kind == "depth" else INVERSE_REMEDY
        raise Refused(f"values outside 0 to {full:g}: {remedy}")
    return np.clip(found, 0, 1)


def _beyond(value: np.ndarray, declared: Depth | None) -> float:
    """The share of readings that a declared near and far cut off."""
    if declared is None or not declared.bounded or not value.size:
        return 0.0
    return float(((value <= 0) | (value >= 1)).mean())


def _fill_depth(value: np.ndarray, valid: np.ndarray, size: int, meaning: Depth) -> tuple[np.ndarray, float]:
    """Grey pixels (size, size, 3) and the share of missing readings, which the nearest reading fills."""
    missing = 1 - float(valid.mean())
    if missing > meaning.most_missing:
        raise Refused(f"more than {meaning.most_missing:.0%} of its readings are missing (depth.most_missing)")
    weight = _fit(valid.astype(np.float32), size)
    total = _fit(np.where(valid, value, 0).astype(np.float32), size)
    known = weight > 0.01
    if not known.any():
        raise Refused("no reading in the central square")
    small = np.where(known, total / np.maximum(weight, 0.01), 0)
    grey = np.rint(np.clip(_nearest(small, known), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1), missing


def _fill_classes(colours: np.ndarray, known: np.ndarray, size: int, meaning: Segmentation) -> tuple[np.ndarray, float]:
    """Class colours (size, size, 3) and the share of void, which the nearest class fills."""
    missing = 1 - float(known.mean())
    if missing > meaning.most_missing:
        raise Refused(f"more than {meaning.most_missing:.0%} of it is void (seg.most_missing)")
    small = _fit(colours, size, pick=True)
    inside = _fit(known.astype(np.uint8), size, pick=True) > 0
    if not inside.any():
        raise Refused("only void in the central square")
    return _nearest(small, inside), missing


def _nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The values, those that are not known replaced by the nearest known one."""
    if known.all():
        return values
    places = distance_transform_edt(~known, return_distances=False, return_indices=True)
    found: np.ndarray = values[tuple(places)]
    return found


def _edges(picture: np.ndarray, size: int, meaning: SoftEdges) -> np.ndarray:
    if not colormaps.is_grey(picture):
        raise Refused("in colour: a soft-edge map is grey")
    if meaning.bright == "flat":
        picture = 255 - picture
    if 0 < picture.max() <= DIMMEST * 255:
        raise Refused(f"soft edges of up to {picture.max()} of 255: save them so that the strongest are near 255")
    small = _fit(picture, size)
    if np.median(small) > 127:
        raise Refused("mostly bright, so its edges are dark; declare with --maps `hed: {bright: flat}`")
    return small


def _stored(picture: np.ndarray, size: int) -> np.ndarray:
    """A map of which nothing is known but its colours; a few colours are not mixed."""
    return _fit(picture, size, pick=few_colours(PIL.Image.fromarray(picture)))


def _fit(values: np.ndarray, size: int, pick: bool = False) -> np.ndarray:
    """The central square of (H, W) float32 or (H, W, …) uint8, `size` pixels a side, which are picked or mixed."""
    method = PIL.Image.Resampling.NEAREST if pick else PIL.Image.Resampling.BILINEAR
    return np.asarray(PIL.ImageOps.fit(PIL.Image.fromarray(values), (size, size), method))

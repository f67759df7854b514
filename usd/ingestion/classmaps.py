"""Class maps: the ids or colours that a file holds, and the colours that they get in the record.

Void pixels take the class beside them, since the record has no void; their share is counted.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from usd.data.classes import CLASSES, MOST_CLASSES, PALETTE, STRAY, bit_colours
from usd.ingestion.meanings import Segmentation, Settled, rgb
from usd.ingestion.pictures import Refused
from usd.ingestion.raw import Raw

FEW = 8  # values that any class map may have; of more, half must fill an area
BLOCK = np.ones((3, 3), np.uint8)  # the smallest area
VOC = bit_colours(256)  # the palette of PASCAL VOC's PNGs; their indices are class ids


def _id_colours() -> np.ndarray:
    """A colour for each id (256, 3) uint8: the project's palette, then those of VOC that are far enough from it."""
    apart = np.abs(VOC[:, None].astype(int) - PALETTE).max(-1).min(-1) > STRAY
    return np.concatenate([PALETTE, VOC[apart]])[:256]


ID_COLOURS = _id_colours()


@dataclass(frozen=True)
class Form:
    """What a class map is made of."""

    kind: Literal["ids", "colours"]
    values: np.ndarray  # (H, W) int32: ids, or colours as 0xRRGGBB
    grey: bool = False  # these ids are greys of three channels, which are colours if other class maps are coloured
    voc: bool = False  # these ids have the palette of PASCAL VOC, where 255 is void
    scale: int = 1  # what greys of fewer than 8 bits were multiplied by when decoded

    @property
    def used(self) -> frozenset[int]:
        """The ids or colours in it."""
        return frozenset(np.unique(self.values).tolist())

    @property
    def mask(self) -> bool:
        """Whether it may be a mask of 0 and 255: these are ids, all but specks of which are 255 and one other."""
        if self.kind != "ids" or self.voc or not (self.values == 255).any():
            return False
        return len(np.unique(self.values[_inside(self.values) & (self.values != 255)])) < 2


def form_of(raw: Raw, declared: Segmentation) -> Form:
    """The ids or colours of a class map.

    Raises:
        Refused: it is lossy, anti-aliased or a photograph, has ids beyond 8 bits, may hold its mask in two places, or
            does not hold what is declared.
    """
    form = _form(raw, declared)
    if declared.kind not in ("auto", form.kind):
        raise Refused(f"holds {form.kind}, and seg.kind: {declared.kind} is declared; correct that, or the map")
    return form


def _form(raw: Raw, declared: Segmentation) -> Form:
    values, opaque = raw.values, raw.opaque
    if raw.narrowed:
        raise Refused("colours of 16 bits; save the class map with 8 bits a channel, or ids as grey")
    if raw.lossy:
        raise Refused("lossy: JPEG and lossy WebP mix the colours at class borders; save the class map as PNG")
    if opaque is not None:
        colours = values.reshape(-1, values.shape[-1] if values.ndim == 3 else 1)
        if (colours != colours[0]).any() and (colours[opaque.ravel()] != colours[opaque.ravel()][:1]).any():
            raise Refused("has transparency: is the mask its alpha or its colours? save it without alpha")
        return Form("ids", np.where(opaque, 255, 0).astype(np.int32))  # the mask is the alpha channel
    if raw.palette is not None:
        kind = declared.declared.kind if isinstance(declared, Settled) else declared.kind  # "ids" may mean the colours
        used = np.unique(values)
        known = bool(used.any() and (raw.palette[used] == VOC[used]).all())
        if kind == "ids" or (kind == "auto" and known):
            return _sound(Form("ids", values.astype(np.int32), voc=known))
        values = raw.palette[values]
    grey = values.ndim == 3 and declared.kind != "colours" and bool((values == values[..., :1]).all())
    if grey:
        values = values[..., 0]
    if values.ndim == 2:
        if values.dtype.kind == "f" or int(values.max()) > 255 or int(values.min()) < 0:
            raise Refused("class ids outside 0 to 255; a class map has an id of 8 bits a pixel")
        ids = values.astype(np.int32)
        return _sound(Form("ids", ids if _shades(raw, declared) else ids // raw.scale, grey, scale=raw.scale))
    return _sound(Form("colours", values.astype(np.int32) @ np.array([0x10000, 0x100, 1], np.int32)))


def _shades(raw: Raw, declared: Segmentation) -> bool:
    """Whether greys mean what they look like: of 1 bit, 0 and 255, unless 1 is declared; else ids as stored."""
    return raw.scale == 255 and 1 not in {declared.void, *(declared.classes or ())}


def _sound(form: Form) -> Form:
    """The form, if its values fill areas as classes do."""
    found = np.unique(form.values)
    what = "grey levels" if form.kind == "ids" else "colours"
    rare = len(found) - len(np.unique(form.values[_inside(form.values)]))
    if len(found) > MOST_CLASSES or (len(found) > FEW and rare > len(found) / 2):
        reason = "lossy, anti-aliased or not a class map"
        raise Refused(f"too many {what} that fill no area: {reason}; save it again as PNG")
    return form


def _inside(values: np.ndarray) -> np.ndarray:
    """Which pixels have the value of all their neighbours, (H, W) bool."""
    number = values.astype(np.float32)  # exact below 2²⁴
    found: np.ndarray = cv2.erode(number, BLOCK) == cv2.dilate(number, BLOCK)
    return found


def recolour(values: np.ndarray, meaning: Segmentation) -> tuple[np.ndarray, np.ndarray]:
    """Class colours (H, W, 3) uint8 of ids or colours (H, W) int32, and which pixels are not void, (H, W) bool.

    Raises:
        Refused: a value is not one of the declared classes.
    """
    known = np.ones(values.shape, bool) if meaning.void == "none" else values != _code(meaning.void)
    if meaning.classes is not None:
        table = {_code(value): _colour(name) for value, name in meaning.classes.items()}
        if strange := set(np.unique(values[known]).tolist()) - table.keys():
            shown = ", ".join(str(v) if meaning.kind == "ids" else f"#{v:06x}" for v in sorted(strange)[:5])
            raise Refused(f"holds {shown}, which seg.classes does not declare")
        codes = np.array(sorted(table))
        colours = np.array([table[code] for code in codes.tolist()], np.uint8)
        return colours[np.searchsorted(codes, values).clip(max=len(codes) - 1)], known
    if meaning.kind == "ids":
        return ID_COLOURS[values], known
    return np.stack([values >> 16, values >> 8 & 255, values & 255], axis=-1).astype(np.uint8), known


def _code(value: int | str) -> int:
    if isinstance(value, int):
        return value
    red, green, blue = rgb(value)
    return red << 16 | green << 8 | blue


def _colour(name: str) -> tuple[int, int, int]:
    """The colour of a class of the project, or #rrggbb."""
    if name in CLASSES:
        red, green, blue = PALETTE[CLASSES.index(name)].tolist()
        return red, green, blue
    return rgb(name)

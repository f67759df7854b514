"""Class maps: the ids or colours that a file holds, and the colours that they get in the record.

Void pixels take the class beside them, since the record has no void; their share is counted.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from usd.data.classes import CLASSES, MOST_CLASSES, PALETTE, STRAY, bit_colours
from usd.files import path_text
from usd.ingestion.meanings import Segmentation, Settled, rgb
from usd.ingestion.pictures import Refused
from usd.ingestion.raw import Raw

Kind = Literal["ids", "colours", "greys"]  # greys of three channels: colours where other class maps are coloured
FEW = 8  # values that any class map may have; of more, half must fill an area
BLOCK = np.ones((3, 3), np.uint8)  # the smallest area
VOID_REMEDY = "say `seg: {void: 255}` or `void: none`"
MOST_ID_BESIDE_VOID = 63  # with higher ids, 255 may be a class: grey levels rather than ids
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


@dataclass(frozen=True)
class Surveyed:
    """Which ids or colours a class map holds."""

    file: Path
    kind: Kind
    used: frozenset[int]
    mask: bool  # it may be one of 0 and 255
    scale: int = 1  # of its form


def settle(found: list[Surveyed], declared: Segmentation) -> Segmentation:
    """The one meaning of all class maps of a source, from their kinds and the values used in them.

    Raises:
        Refused: the maps do not agree, or leave open what 255 means.
    """
    if not found:
        return declared
    if any(each.kind == "colours" for each in found):
        found = [_coloured(each) if each.kind == "greys" else each for each in found]
    kinds = {"ids" if each.kind == "greys" else each.kind for each in found}
    used: frozenset[int] = frozenset().union(*(each.used for each in found))
    if len(kinds) > 1:
        raise Refused("some class maps hold ids and others colours; keep one form, or put the others elsewhere")
    kind: Literal["ids", "colours"] = "colours" if "colours" in kinds else "ids"
    if kind == "colours" and len(used) > MOST_CLASSES:
        raise Refused(f"{len(used)} colours in all class maps, at most {MOST_CLASSES}: they are instances, not classes")
    _check_values(declared, kind)
    _check_bits(found, declared)
    void = declared.void
    if isinstance(void, int) and void not in used and 255 in used:
        raise Refused(f"no class map holds {void}, as seg.void declares, but some 255: say `void: 255` or `void: none`")
    if void == "auto":
        void = _void(found) if kind == "ids" and 255 in used and used - {0, 255} else "none"
    settled = declared.model_dump() | {"kind": kind, "void": void}
    return Settled(**settled, declared=declared)


def _coloured(greys: Surveyed) -> Surveyed:
    """The same with its greys as colours."""
    return replace(greys, kind="colours", used=frozenset(value * 0x010101 for value in greys.used))


def _void(found: list[Surveyed]) -> int:
    """The void, 255, of ids of which some are neither that nor 0."""
    if max(each for some in found for each in some.used - {255}) > MOST_ID_BESIDE_VOID:
        raise Refused(f"grey values up to 255: is 255 void or a class? {VOID_REMEDY}")
    if mask := next((each for each in found if each.mask), None):
        raise Refused(
            f"{path_text(mask.file)} holds 255 and one id, but for specks, and there are other ids: is 255 void or a "
            f"class? {VOID_REMEDY}"
        )
    return 255


def _check_values(declared: Segmentation, kind: Literal["ids", "colours"]) -> None:
    """Refuse declared values that the maps cannot hold."""
    named = [("void", declared.void), *(("classes", value) for value in declared.classes or ())]
    for key, value in named:
        if value not in ("auto", "none") and isinstance(value, int) != (kind == "ids"):
            remedy = "an id, such as 255" if kind == "ids" else 'a colour, such as "#ffffff"'
            raise Refused(f"class maps hold {kind}, and seg.{key} declares {value}; declare {remedy}")


def _check_bits(found: list[Surveyed], declared: Segmentation) -> None:
    """Refuse greys of fewer than 8 bits that may be ids or shades: programs that shrink PNGs store 0 and 17 as 0 and 1.

    They are ids where they are declared, or where all class maps have as many bits; with 1 bit go masks of 0 and 255.
    """
    named = {declared.void, *(declared.classes or ())}
    small = next((each for each in found if each.scale > 1 and each.used - {0} - named), None)
    if small is None:
        return
    shown, most = path_text(small.file), 255 // small.scale
    beyond = [each for each in named if isinstance(each, int) and each > most]
    if small.scale < 255 and beyond:
        raise Refused(f"{shown} has greys from 0 to {most}, not {min(beyond)}, as seg declares: say it as stored")
    if any(each.scale != small.scale and each.used - {0, 255} for each in found):
        raise Refused(
            f"{shown} has greys from 0 to {most}, other class maps do not: declare all in `seg.classes`, or save all "
            "with 8 bits a pixel"
        )


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

"""The one meaning of all class maps of a source: all are looked into before any is read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from usd.data.classes import MOST_CLASSES
from usd.errors import UsdError
from usd.files import path_text, sha256
from usd.ingestion.checking import SERIAL, is_outside
from usd.ingestion.classmaps import form_of
from usd.ingestion.meanings import Maps, Segmentation, Settled
from usd.ingestion.pictures import Refused
from usd.ingestion.raw import read_raw
from usd.ingestion.scan import Sample
from usd.parallel import parallel_map

Kind = Literal["ids", "colours", "greys"]  # greys of three channels: colours where other class maps are coloured
VOID_REMEDY = "say `seg: {void: 255}` or `void: none`"
MOST_ID_BESIDE_VOID = 63  # with higher ids, 255 may be a class: grey levels rather than ids


def settle_classes(source: Path, samples: list[Sample], maps: Maps) -> Maps:
    """The declarations, with one meaning for all class maps of the source.

    Raises:
        UsdError: it cannot be known.
    """
    listed = [sample.files["seg"] for sample in samples if "seg" in sample.files]
    files = [file for file in dict.fromkeys(listed) if not is_outside(file)]
    if not files:
        return maps
    declared = maps.seg or Segmentation()
    jobs = [Survey(source, file, declared) for file in files]
    found = parallel_map(survey, jobs, "class maps", len(jobs), serial_below=SERIAL)
    try:
        settled = settle([each for each in found if each is not None], declared)
    except Refused as reason:
        raise UsdError(f"{source}: {reason}; --maps takes the file that says so, see docs/own-data.md") from reason
    return maps.model_copy(update={"seg": settled})


@dataclass(frozen=True)
class Survey:
    """A class map to be looked into before any is read."""

    source: Path
    file: Path
    declared: Segmentation


@dataclass(frozen=True)
class Surveyed:
    """Which ids or colours a class map holds."""

    file: Path
    kind: Kind
    used: frozenset[int]
    mask: bool  # it may be one of 0 and 255
    scale: int = 1  # of its form
    ink: tuple[int, ...] | None = None  # the colour that a mask in alpha shows
    palette: str = ""  # digest
    drawn: frozenset[tuple[tuple[int, ...], int]] = frozenset()  # colour and index of what it has of its palette


def survey(job: Survey) -> Surveyed | None:
    """What a class map holds; None if it is refused, which `check` says."""
    try:
        raw = read_raw(job.source / job.file)
        form = form_of(raw, job.declared)
    except Refused:
        return None
    kind: Kind = "greys" if form.grey else form.kind
    found = Surveyed(job.file, kind, form.used, form.mask, form.scale)
    if raw.opaque is not None:
        shown = raw.values[raw.opaque][:1] if raw.palette is None else raw.palette[raw.values[raw.opaque][:1]]
        return replace(found, ink=tuple(np.broadcast_to(shown.T, (3, 1)).ravel().tolist()) if len(shown) else None)
    if raw.palette is not None:
        drawn = frozenset((tuple(raw.palette[index].tolist()), index) for index in np.unique(raw.values).tolist())
        return replace(found, palette=sha256(raw.palette.tobytes()), drawn=drawn)
    return found


def settle(found: list[Surveyed], declared: Segmentation) -> Segmentation:
    """The one meaning of all class maps of a source, from their kinds and the values used in them.

    Raises:
        Refused: the maps do not agree, or leave open what 255 means.
        UsdError: they may hold classes that would become one.
    """
    if not found:
        return declared
    _check_inks(found)
    if declared.kind == "auto":
        _check_palettes(found)
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


def _check_inks(found: list[Surveyed]) -> None:
    """Refuse masks in alpha of several colours: these may be the classes."""
    files = {each.ink: each.file for each in found if each.ink is not None}
    if len(files) > 1:
        one, other = map(path_text, sorted(files.values())[:2])
        raise UsdError(
            f"{one} and {other}: masks in alpha of two colours; if these are classes, save all class maps without "
            "alpha, and if not, save the alpha alone, as grey"
        )


def _check_palettes(found: list[Surveyed]) -> None:
    """Refuse palettes that have one colour for two of the ids in use, as those that end in zeros have black for 255."""
    indices: dict[tuple[str, tuple[int, ...]], int] = {}
    for each in found:
        for colour, index in sorted(each.drawn):
            if (first := indices.setdefault((each.palette, colour), index)) != index:
                raise UsdError(
                    f"{path_text(each.file)}: {first} and {index} have one colour in its palette; say with --maps "
                    "`seg: {kind: ids}` if they are class ids, or `seg: {kind: colours}` if they are one class"
                )


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

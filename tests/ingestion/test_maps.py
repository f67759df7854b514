"""The values of maps: read by their meaning, or refused by name with a remedy; never silently wrong."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.ingestion.scenery import kept, notes, save, sight, take
from usd.data.classes import PALETTE, bit_colours
from usd.data.record import read_manifest
from usd.errors import UsdError
from usd.ingestion.classmaps import ID_COLOURS
from usd.ingestion.maps import _inverse
from usd.ingestion.meanings import Depth, Maps

METRES = np.tile(np.linspace(1, 10, 72), (72, 1))  # (72, 72), near on the left
METRES[20:40, 20:40] = 0.7
TRUTH = np.clip((1 / METRES - 1 / 10) / (1 / 0.5 - 1 / 10), 0, 1)
NAMED = "say what they mean with --maps"
BLOCKS = np.kron(np.array([[0, 7, 15], [15, 0, 7], [7, 15, 0]], np.uint8), np.ones((24, 24), np.uint8))  # (72, 72)
VOID = BLOCKS.copy()
VOID[22:26] = 255


def source(root: Path, name: str, pixels: np.ndarray, width: int = 72) -> None:
    """A picture and its map."""
    save(root / "source/a.png", sight(1, width, 72))
    save(root / "source" / name, pixels)


def of_8_bits(value: np.ndarray) -> np.ndarray:
    return np.rint(value * 255).astype(np.uint8)


def coloured(name: str) -> np.ndarray:
    return cv2.applyColorMap(of_8_bits(TRUTH), getattr(cv2, f"COLORMAP_{name.upper()}"))[..., ::-1]


def lacking(values: np.ndarray, missing: float = 0) -> np.ndarray:
    """The first three columns without a reading."""
    found = values.copy()
    found[:, :3] = missing
    return found


def shifted(place: float) -> str:
    return f"depth: {{kind: disparity, unit: 1/256, near: {54 / 0.5}, far: {54 / place}}}"


MM = "depth: {kind: depth, unit: mm, near: 0.5, far: 10}"
DEPTHS: dict[str, tuple[str, np.ndarray, str]] = {  # case → file, values, declaration
    "millimetres": ("a.depth.png", np.rint(METRES * 1000).astype(np.uint16), MM),
    "no readings": ("a.depth.png", lacking(np.rint(METRES * 1000)).astype(np.uint16), MM),
    "TUM": ("depth/a.png", np.rint(METRES * 5000).astype(np.uint16), MM.replace("mm", "1/5000")),
    "KITTI depth": ("a_depth.png", np.rint(METRES * 256).astype(np.uint16), MM.replace("mm", "1/256")),
    "KITTI disparity": ("disp_occ_0/a.png", np.rint(256 * 54 / METRES).astype(np.uint16), shifted(10)),
    "float metres": ("depths/a.npy", METRES.astype(np.float32), MM.replace("mm", "m")),
    "float with NaN": ("depth/a.npy", lacking(METRES, np.nan), MM.replace("mm", "m")),
    "float TIFF": ("Depth/a.tif", METRES.astype(np.float32), MM.replace("mm", "m")),
    "centimetres": ("a.depth.PNG", np.rint(METRES * 25).astype(np.uint8), MM.replace("mm", "0.04")),
    "inverse of 16 bits": ("a.depth.png", np.rint(TRUTH * 65535).astype(np.uint16), "depth: {kind: inverse}"),
    "inverse, unscaled": ("a.depth.npy", TRUTH * 30 + 4, "depth: {kind: inverse, near: 34, far: 4}"),
    "bright is far": ("a.depth.png", of_8_bits(1 - TRUTH), "depth: {kind: depth}"),
    "inverse of 8 bits": ("a.depth.png", of_8_bits(TRUTH), ""),
    "grey JPEG": ("a.depth.jpg", np.repeat(of_8_bits(TRUTH)[..., None], 3, -1), ""),
    "viridis": ("a.depth.png", coloured("viridis"), "depth: {colormap: viridis}"),
}


@pytest.mark.parametrize("case", DEPTHS)
def test_depth_has_its_meaning_and_without_it_is_refused(case: str, tmp_path: Path) -> None:
    name, values, maps = DEPTHS[case]
    source(tmp_path, name, values)
    found = take(tmp_path, maps, size=72)
    depth = kept(tmp_path, "a.png", "depth")[..., 0] / 255
    assert np.abs(depth - TRUTH)[:, 3:].mean() < 0.012
    assert depth[30, 30] > depth[30, 60] + 0.3
    (row,) = read_manifest(tmp_path / "out").to_dict("records")
    assert ("(declared)" if maps else "(assumed)") in row["depth_meaning"]
    assert row["depth_meaning"] in notes(tmp_path).replace('"', "")
    missing = case in ("no readings", "float with NaN")
    assert row["depth_missing"] == pytest.approx(3 / 72 if missing else 0)
    assert ("missing readings filled: 4.2%" in found[name].detail) == missing
    if missing:
        assert np.abs(depth - TRUTH)[:, :3].mean() < 0.1  # the nearest reading, not 0 metres
    if maps and case not in ("bright is far", "centimetres"):  # of 8 bits: the record's own form is assumed, and said
        with pytest.raises(UsdError, match=rf"{NAMED}|coloured with viridis"):
            take(tmp_path)


@pytest.mark.parametrize("name", ["jet", "viridis", "magma", "inferno", "plasma", "turbo"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_coloured_depth_is_recognised(name: str, suffix: str, tmp_path: Path) -> None:
    source(tmp_path, f"a.depth.{suffix}", coloured(name))
    with pytest.raises(UsdError, match=rf"coloured with {name}: declare it"):
        take(tmp_path)


@given(st.floats(0.2, 60), st.floats(0.2, 60))
def test_what_is_nearer_is_brighter(one: float, other: float) -> None:
    metres = np.array([one, other])
    for meaning, values in (
        (Depth(kind="depth", unit="mm", near=0.5, far=50), metres * 1000),
        (Depth(kind="disparity", near=2, far=0.02), 1 / metres),
    ):
        found = _inverse(values, meaning, 65535)
        assert ((found >= 0) & (found <= 1)).all()
        assert (found[0] - found[1]) * (metres[1] - metres[0]) >= 0


VOC = PIL.Image.fromarray(VOID, "P")
VOC.putpalette(bit_colours(256).tobytes())
LOCAL = PIL.Image.fromarray((BLOCKS > 0).astype(np.uint8) + (BLOCKS > 7), "P")  # as pngquant leaves a coloured map
LOCAL.putpalette(bit_colours(256)[[0, 7, 15]].tobytes())
MASK = np.where(BLOCKS == 15, 255, 0).astype(np.uint8)
BLUR = cv2.GaussianBlur(BLOCKS * 16, (9, 9), 0)


def alpha(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.dstack([pixels, mask])


SEGMENTS: dict[str, tuple[str, object, str, np.ndarray]] = {  # case → file, map, declaration, ids in the record
    "ids with void": ("seg/a.png", VOID, "", BLOCKS),
    "ids as RGB": ("labels/a.png", np.repeat(BLOCKS[..., None], 3, -1), "", BLOCKS),
    "palette of VOC": ("SegmentationClass/a.png", VOC, "", BLOCKS),
    "Cityscapes": ("gtFine/a_gtFine_labelIds.png", VOID, "seg: {void: 255}", BLOCKS),
    "ADE20K, 0 is void": ("annotations/a.png", np.where(BLOCKS == 7, 0, BLOCKS + 1), "seg: {void: 0}", BLOCKS + 1),
    "COCO, high ids": (
        "masks/a.png",
        np.where(VOID == 15, 182, VOID),
        "seg: {void: 255}",
        np.where(BLOCKS == 15, 182, BLOCKS),
    ),
    "binary mask": ("a_mask.png", MASK, "", MASK),
    "mask in alpha": ("a.seg.png", alpha(np.zeros((72, 72, 3), np.uint8), MASK), "", MASK),
    "bilevel": ("masks/a.png", PIL.Image.fromarray(MASK).convert("1"), "", MASK),
    "array": ("seg/a.npy", VOID.astype(np.int64), "", BLOCKS),
    "declared classes": ("seg/a.png", VOID, "seg: {void: 255, classes: {0: floor, 7: duck, 15: mug}}", BLOCKS),
}


@pytest.mark.parametrize("case", SEGMENTS)
def test_classes_keep_apart_and_void_is_not_one(case: str, tmp_path: Path) -> None:
    name, picture, maps, ids = SEGMENTS[case]
    if isinstance(picture, PIL.Image.Image):
        source(tmp_path, "a.png", sight(1, 72, 72))
        (tmp_path / "source" / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / "source" / name)
    else:
        source(tmp_path, name, np.asarray(picture))
    take(tmp_path, maps, size=72)
    seg = kept(tmp_path, "a.png", "seg")
    expected = ID_COLOURS[ids]
    if case == "declared classes":
        expected = PALETTE[np.select([ids == 0, ids == 7], [1, 2], 4)]
    away = np.ones((72, 72), bool)
    away[20:28] = False  # beside void the nearest class decides
    if "0 is void" in case:
        away &= ids != 8
    assert np.array_equal(seg[away], expected[away])
    assert {tuple(c) for c in seg.reshape(-1, 3).tolist()} <= {tuple(c) for c in expected.reshape(-1, 3).tolist()}
    assert "seg maps read as class ids" in notes(tmp_path)


def test_colours_stay_whatever_the_order_of_a_palette(tmp_path: Path) -> None:
    source(tmp_path, "a.png", sight(1, 72, 72))
    LOCAL.save(tmp_path / "source/a.seg.png")
    take(tmp_path, size=72)
    assert np.array_equal(kept(tmp_path, "a.png", "seg"), bit_colours(256)[BLOCKS])
    assert "class colours (detected)" in notes(tmp_path)


REFUSED: dict[str, tuple[str, np.ndarray, str, str]] = {  # case → file, map, declaration, what the refusal says
    "JPEG mask": ("a.seg.jpg", BLOCKS, "", "lossy: JPEG"),
    "JPEG mask as PNG": ("masks/a.png", BLUR, "", "lossy, anti-aliased or not a class map"),
    "photograph as mask": ("masks/a.png", sight(2, 72, 72), "", "lossy, anti-aliased or not a class map"),
    "cut-out": ("a.seg.png", alpha(sight(3, 72, 72), MASK), "", "is the mask its alpha or its colours"),
    "ids of 16 bits": ("a.seg.png", BLOCKS.astype(np.uint16) * 100, "", "class ids outside 0 to 255"),
    "255 beside grey": ("a.seg.png", np.where(BLOCKS == 7, 85, VOID), "", "is 255 void or a class?"),
    "not declared": (
        "a.seg.png",
        BLOCKS,
        "seg: {classes: {0: floor, 7: duck}}",
        "holds 15, which seg.classes does not",
    ),
    "void all over": (
        "a.seg.png",
        np.where(BLOCKS == 7, 7, 255).astype(np.uint8),
        "seg: {void: 255}",
        "50% of it is void",
    ),
    "readings missing": ("a.depth.png", np.where(BLOCKS == 7, 900, 0).astype(np.uint16), MM, "50% of its readings"),
    "16 bits": ("a.depth.png", np.rint(METRES * 1000).astype(np.uint16), "", NAMED),
    "floats": ("depth/a.npy", METRES, "", NAMED),
    "photograph as depth": ("a.depth.png", sight(4, 72, 72), "", "in colour: a depth map is grey"),
    "EXR": ("depth/a.exr", BLOCKS, "", r"\.exr files are not read; save the values as \.npy"),
    "coloured edges": ("a.hed.png", sight(4, 72, 72), "", "in colour: a soft-edge map"),
    "dark edges": ("a.hed.png", 255 - of_8_bits(TRUTH), "", r"declare with --maps `hed: \{bright: flat\}`"),
    "not normals": ("a.normal.png", sight(5, 72, 72), "", "not camera-space normals"),
    "blank edges": ("a.hed.png", np.zeros((72, 72), np.uint8), "", "blank: a single colour"),
    "other shape": ("a.depth.png", of_8_bits(TRUTH)[:40], "", "of another shape than its image"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_known_is_refused_by_name(case: str, tmp_path: Path) -> None:
    name, picture, maps, message = REFUSED[case]
    if name.endswith(".exr"):
        source(tmp_path, "a.png", sight(1, 72, 72))
        (tmp_path / "source/depth").mkdir()
        (tmp_path / "source" / name).write_bytes(b"v/1\x01")
    else:
        source(tmp_path, name, picture)
    with pytest.raises(UsdError, match=message):
        take(tmp_path, maps, size=72)
    assert not (tmp_path / "out").exists()


def test_ids_and_colours_do_not_mix(tmp_path: Path) -> None:
    for name, picture in (("a", BLOCKS), ("b", bit_colours(256)[BLOCKS])):
        save(tmp_path / f"source/{name}.png", sight(ord(name), 72, 72))
        save(tmp_path / f"source/seg/{name}.png", picture)
    with pytest.raises(UsdError, match="some class maps hold ids and others colours"):
        take(tmp_path)


def test_a_coloured_class_map_that_shows_greys_only_is_one_of_colours(tmp_path: Path) -> None:
    for name, picture in (("a", bit_colours(256)[BLOCKS]), ("all_sky", np.zeros((72, 72, 3), np.uint8))):
        save(tmp_path / f"source/{name}.png", sight(len(name), 72, 72))
        save(tmp_path / f"source/seg/{name}.png", picture)
    take(tmp_path, size=72)
    assert "2 seg maps read as class colours (detected)" in notes(tmp_path)


TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURN)
@pytest.mark.parametrize("side", [72, 96])
def test_a_map_of_the_stored_pixels_turns_with_its_image(orientation: int, side: int, tmp_path: Path) -> None:
    stored = np.repeat(sight(1, side, 72)[..., :1], 3, -1)
    exif = PIL.Image.Exif()
    exif[274] = orientation
    (tmp_path / "source").mkdir()
    PIL.Image.fromarray(stored).save(tmp_path / "source/a.png", exif=exif)
    save(tmp_path / "source/a.depth.png", stored)
    if orientation < 5 or side == 72:
        with pytest.raises(UsdError, match="`orientation: stored` or `orientation: upright`"):
            take(tmp_path, size=72)
    take(tmp_path, "orientation: stored" if orientation < 5 or side == 72 else "", size=72)
    edge = (side - 72) // 2
    upright = TURN[orientation](stored[:, edge : edge + 72])
    assert np.array_equal(kept(tmp_path, "a.png", "image"), upright)
    assert np.array_equal(kept(tmp_path, "a.png", "depth"), upright)


@pytest.mark.parametrize(
    ("maps", "message"),
    {
        "depth: {kind: depth, unit: mm}": "needs near and far in metres",
        "depth: {kind: depths, unt: mm}": r"depth\.kind: .*; depth\.unt: Extra inputs",
        "depth: {kind: disparity}": "needs near, the disparity",
        "depth: {kind: depth, near: 1, far: 5}": "near and far need a unit",
        "seg: {void: 300}": "class id 300 is not an integer from 0 to 255",
        "seg: {classes: {1: dck}}": "'dck' is neither #rrggbb nor a class: sky, floor",
        "condition: pose": "condition: Input should be",
        "depth: [": "not valid YAML",
        "- depth": "file: Input should be",
    }.items(),
)
def test_a_mistake_in_the_declaration_is_one_line(maps: str, message: str, tmp_path: Path) -> None:
    source(tmp_path, "a.depth.png", BLOCKS)
    with pytest.raises(UsdError, match=message) as error:
        take(tmp_path, maps)
    assert "\n" not in str(error.value)


def test_every_declaration_of_the_documentation_is_read() -> None:
    table = (ROOT / "docs/own-data.md").read_text().split("## What the values of your maps mean")[1]
    found = [code for code in re.findall(r"`([a-z]+: [^`]+)`", table) if code.split(":")[0] in Maps.model_fields]
    assert len(found) > 12
    for code in found:
        Maps.model_validate(YAML(typ="safe", pure=True).load(code))

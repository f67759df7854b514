"""Declarations of maps.yaml: they fit the maps and settle what they mean, or are refused by name."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.ingestion.scenery import kept, notes, save, sight, take
from tests.ingestion.test_maps import BLOCKS, METRES, TRUTH, VOID, coloured, of_8_bits, source
from usd.config.loading import parse_yaml
from usd.data.classes import bit_colours
from usd.errors import UsdError
from usd.ingestion.meanings import read_maps
from usd.ingestion.words import as_key

MILLIMETRES = np.rint(METRES * 1000).astype(np.uint16)
COLOURS = bit_colours(256)[BLOCKS]
PACKED = np.dstack([MILLIMETRES & 255, MILLIMETRES >> 8, MILLIMETRES * 0]).astype(np.uint8)
BLACK_SIDE = coloured("jet").copy()
BLACK_SIDE[:, 45:] = 0  # no reading


@pytest.mark.parametrize("name", ["depth/a.png", "depth/a.npy"])
@pytest.mark.parametrize("declared", ["{kind: depth}", "{missing: 0}", "{most_missing: 0.9}"])
def test_only_a_declared_scale_settles_what_16_bits_and_floats_mean(declared: str, name: str, tmp_path: Path) -> None:
    source(tmp_path, name, MILLIMETRES if name.endswith("png") else METRES)
    remedy = "`kind: depth` alone does not say .* add a unit" if "kind" in declared else "say what they mean with"
    with pytest.raises(UsdError, match=f"depth values of (16 bits|floating point): {remedy}"):
        take(tmp_path, f"depth: {declared}")


def test_relative_depth_of_16_bits_may_be_declared(tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", np.rint((1 - TRUTH) * 65535).astype(np.uint16))
    take(tmp_path, "depth: {kind: depth, unit: relative}", size=72)
    assert np.abs(kept(tmp_path, "a.png", "depth")[..., 0] / 255 - TRUTH).mean() < 0.012


@pytest.mark.parametrize("declared", ["{far: 255}", "{kind: inverse, far: 300}"])
def test_the_far_end_of_inverse_depth_is_below_the_near_one(declared: str, tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", of_8_bits(TRUTH))
    with pytest.raises(UsdError, match=r"depth\.far: (255|300) is not below 255, which becomes 1; lower it, or add"):
        take(tmp_path, f"depth: {declared}")


def test_low_values_of_8_bits_lack_their_unit(tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", METRES.astype(np.uint8))
    with pytest.raises(UsdError, match=r"depth values of up to 10 of 255, .*add a unit"):
        take(tmp_path, "depth: {kind: depth}")


@pytest.mark.parametrize(
    ("declared", "picture", "found"),
    [
        ("jet", coloured("viridis"), "viridis"),
        ("jet", coloured("hot"), "hot"),
        ("jet", of_8_bits(TRUTH), "grey"),
        ("jet", np.repeat(of_8_bits(TRUTH)[..., None], 3, -1), "grey"),
        ("jet", sight(4, 72, 72), "otherwise"),
        ("jet", BLACK_SIDE, ""),
        ("jet", coloured("jet"), ""),
    ],
)
def test_a_declared_colour_map_must_be_that_of_the_maps(
    declared: str, picture: np.ndarray, found: str, tmp_path: Path
) -> None:
    source(tmp_path, "depth/a.png", picture)
    if found:
        with pytest.raises(UsdError, match=rf"not coloured with {declared}, as depth\.colormap says, but {found}"):
            take(tmp_path, f"depth: {{colormap: {declared}}}")
    else:
        take(tmp_path, f"depth: {{colormap: {declared}}}")


@pytest.mark.parametrize("declared", ["", "depth: {colormap: hot}"])
@pytest.mark.parametrize("pixels", [PACKED, PACKED[..., ::-1]], ids=["RGB", "BGR"])
def test_bytes_of_a_number_are_no_colours(pixels: np.ndarray, declared: str, tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", pixels)
    with pytest.raises(UsdError, match="in colour, as its channels are the bytes of one number; save the numbers as"):
        take(tmp_path, declared)


@pytest.mark.parametrize(
    ("picture", "declared", "message"),
    [
        (BLOCKS, "kind: colours", r"holds ids, and seg\.kind: colours is declared"),
        (COLOURS, "kind: ids", r"holds colours, and seg\.kind: ids is declared"),
        (VOID, 'void: "#ffffff"', r"class maps hold ids, and seg\.void declares #ffffff; declare an id, such as 255"),
        (COLOURS, "void: 255", r"class maps hold colours, and seg\.void declares 255; declare a colour"),
        (COLOURS, "classes: {1: floor}", r"class maps hold colours, and seg\.classes declares 1; declare a colour"),
        (BLOCKS, "void: true", "class id true is not an integer from 0 to 255"),
        (BLOCKS, "void: 300.0", r"class id 300\.0 is not an integer from 0 to 255"),
        (COLOURS, 'classes: {"#AABBCC": sky, "#aabbcc": floor}', r"seg\.classes: .*two keys are one colour"),
        (BLOCKS, "void: floor", "'floor' is neither an id nor #rrggbb"),
        (BLOCKS, "classes: {sky: floor}", "'sky' is neither an id nor #rrggbb"),
        (BLOCKS, "classes: {0: none, 7: duck}", "'none' is neither #rrggbb nor a class: sky, floor"),
        (BLOCKS, "classes: {0: auto}", "'auto' is neither #rrggbb nor a class"),
        (VOID * 0 + 255, "void: 255, classes: {}", r"seg\.classes: .* at least 1 item"),
        (BLOCKS, 'classes: {0: "#gg0000"}', "'#gg0000' is neither"),
        (BLOCKS, 'classes: {0: "#+12345"}', r"'#\+12345' is neither"),
        (BLOCKS, 'classes: {"#1_2_34": sky}', "'#1_2_34' is neither"),
    ],
)
def test_declared_classes_must_be_those_of_the_maps(
    picture: np.ndarray, declared: str, message: str, tmp_path: Path
) -> None:
    source(tmp_path, "seg/a.png", picture)
    with pytest.raises(UsdError, match=message) as raised:
        take(tmp_path, f"seg: {{{declared}}}")
    assert "\n" not in str(raised.value)


def test_a_unit_beyond_all_numbers_is_one_line(tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", MILLIMETRES)
    with pytest.raises(UsdError, match=r"depth\.unit"):
        take(tmp_path, f"depth: {{kind: depth, unit: 1{'0' * 400}/1, near: 1, far: 2}}")


def test_a_unit_alone_does_not_say_what_it_is_of(tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", MILLIMETRES)
    with pytest.raises(UsdError, match=r"depth: .*say what it is of, with kind: depth or kind: disparity"):
        take(tmp_path, "depth: {unit: mm, near: 0.5, far: 10}")


@pytest.mark.parametrize(
    ("folders", "message"),
    {
        "01: image, B: depth": "folders: .*1 is not text; put the folder's whole name in quotes",
        "A: image, a/: depth": "two keys are one name",
        "A/: image, B/: none": "",
    }.items(),
)
def test_folders_are_named_once_and_as_text(folders: str, message: str, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"source/A/{number}.png", sight(number))
        save(tmp_path / f"source/B/{number}.png", sight(number + 9))
    if message:
        with pytest.raises(UsdError, match=message):
            take(tmp_path, f"folders: {{{folders}}}")
    else:
        assert take(tmp_path, f"folders: {{{folders}}}")["B/0.png"].detail == "left out: its folder is none"


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
@example("01")
@example("1e5")
@example("no: 1")
@example("True")
@example("null")
@example("my photos #2")
@example("a -b. c")
def test_a_folder_of_any_name_can_be_declared_as_messages_print_it(name: str) -> None:
    assert parse_yaml(f"folders: {{{as_key(name)}: image}}", "maps.yaml") == {"folders": {name: "image"}}


@pytest.mark.parametrize(
    ("declared", "message"),
    {
        "colormap: Jet": r"depth\.colormap: .*'Jet' is not one of jet, viridis,",
        "kind: depth, unit: mm, near: .inf, far: 10": r"depth\.near: Input should be a finite number",
        "kind: depth, far: 5": "near and far need a unit, such as mm or relative",
        "kind: depth, unit: relative, near: 5": "near less than far",
        "kind: depth, unit: relative, near: 5, far: 5": "near less than far",
        "kind: depth, unit: .inf, near: 1, far: 10": r"depth\.unit.*: Input should be a finite number",
    }.items(),
)
def test_a_wrong_value_ends_it_before_any_picture_is_read(declared: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "maps.yaml").write_text(f"depth: {{{declared}}}")
    with pytest.raises(UsdError, match=message) as raised:
        read_maps(tmp_path / "maps.yaml")
    assert "\n" not in str(raised.value)


def test_a_declared_kind_of_map_that_is_not_there_is_noted(tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", of_8_bits(TRUTH))
    take(tmp_path, "seg: {void: 0}\ndepth: {kind: inverse}\nnormal: {y: down}\ncondition: hed")
    assert "maps.yaml declares seg and normal, but no picture has such a map; if there are some, see" in notes(tmp_path)
    assert "maps.yaml declares condition, but there is no source/ and no conditioning_image" in notes(tmp_path)
    take(tmp_path, "depth: {kind: inverse}")
    assert "maps.yaml declares" not in notes(tmp_path)

"""Class maps: palettes, transparency and lossy files keep the classes or are refused; 255 is not guessed to be void."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingestion.scenery import kept, notes, save, sight, take
from tests.ingestion.test_maps import BLOCKS, MASK
from usd.data.classes import CLASSES, PALETTE, STRAY, bit_colours
from usd.errors import UsdError
from usd.ingestion.classmaps import ID_COLOURS, form_of
from usd.ingestion.meanings import Segmentation, Settled
from usd.ingestion.raw import Raw, read_raw

SPECKS = MASK.copy()
SPECKS[5, 5:20:4] = 1
HOLES = np.where(np.arange(72) < 30, 0, 255).astype(np.uint8)[:, None].repeat(72, 1)  # alpha: the upper rows are clear


def beside(root: Path, *maps: np.ndarray | PIL.Image.Image, suffix: str = ".png", **options: object) -> None:
    """Pictures 0, 1, … and their class maps."""
    (root / "source/seg").mkdir(parents=True)
    for number, each in enumerate(maps):
        save(root / f"source/{number}.png", sight(number, 72, 72))
        picture = each if isinstance(each, PIL.Image.Image) else PIL.Image.fromarray(each)
        picture.save(root / f"source/seg/{number}{suffix}", **options)  # type: ignore[arg-type]


def in_palette(values: np.ndarray, order: list[int]) -> PIL.Image.Image:
    """Greys by the indices of a palette of its own, as pngquant writes them."""
    found = PIL.Image.fromarray(np.argsort(order).astype(np.uint8)[np.searchsorted(sorted(order), values)], "P")
    found.putpalette(np.repeat(np.array(order, np.uint8), 3).tobytes())
    return found


@given(st.permutations([0, 7, 15, 200]), st.booleans())
def test_a_grey_palette_is_read_by_its_colours_in_both_passes(order: list[int], settled: bool) -> None:
    picture = in_palette(BLOCKS, order)
    palette = np.zeros((256, 3), np.uint8)
    palette[:4] = np.array(order)[:, None]
    raw = Raw(np.asarray(picture), 255, None, palette, False, False, 1, (), "")
    told = Segmentation()
    form = form_of(raw, Settled(kind="ids", declared=told) if settled else told)
    assert np.array_equal(form.values, BLOCKS)
    declared = Segmentation(kind="ids")
    again = form_of(raw, Settled(kind="ids", declared=declared) if settled else declared)
    assert np.array_equal(again.values, np.asarray(picture))  # only a declaration makes indices of them


def test_maps_that_look_the_same_have_the_same_classes(tmp_path: Path) -> None:
    beside(tmp_path, *(in_palette(BLOCKS, order) for order in ([0, 7, 15], [15, 0, 7])), BLOCKS)
    take(tmp_path, size=72)
    for number in range(3):
        assert np.array_equal(kept(tmp_path, f"{number}.png", "seg"), ID_COLOURS[BLOCKS])


def test_no_two_ids_have_colours_that_validation_takes_for_one() -> None:
    assert all(np.abs(ID_COLOURS[:n].astype(int) - ID_COLOURS[n]).max(-1).min() > STRAY for n in range(1, 256))


def test_an_array_of_true_and_false_is_a_mask(tmp_path: Path) -> None:
    save(tmp_path / "source/0.png", sight(0, 72, 72))
    save(tmp_path / "source/masks/0.npy", MASK > 0)
    take(tmp_path, size=72)
    assert np.array_equal(kept(tmp_path, "0.png", "seg"), ID_COLOURS[MASK])


@pytest.mark.parametrize("others", ["specks", "0 and 1", "ids"])
def test_a_mask_of_0_and_255_is_not_taken_for_void(others: str, tmp_path: Path) -> None:
    beside(tmp_path, *{"specks": [SPECKS], "0 and 1": [MASK, MASK // 255], "ids": [MASK, BLOCKS]}[others])
    with pytest.raises(UsdError, match=r"seg/0\.png holds 255 and one id, .* say `seg: \{void: 255\}` or `void: none`"):
        take(tmp_path)
    take(tmp_path, "seg: {void: none}", size=72)
    assert (kept(tmp_path, "0.png", "seg")[MASK == 255] == ID_COLOURS[255]).all()


def test_an_object_alone_in_the_palette_of_voc_has_a_void(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(np.where(BLOCKS == 15, 255, 7).astype(np.uint8), "P")
    picture.putpalette(bit_colours(256).tobytes())
    beside(tmp_path, picture)
    take(tmp_path)
    assert "class ids, void 255 (detected)" in notes(tmp_path)


def test_a_void_that_no_map_holds_is_refused(tmp_path: Path) -> None:
    beside(tmp_path, np.where(BLOCKS == 15, 255, BLOCKS).astype(np.uint8))
    with pytest.raises(UsdError, match=r"no class map holds 254, as seg\.void declares, but some 255: say `void: 255`"):
        take(tmp_path, "seg: {void: 254}")


@pytest.mark.parametrize(
    ("suffix", "options", "refused"),
    [
        (".webp", {"quality": 80}, True),
        (".webp", {"quality": 80, "exif": b"Exif\0\0"}, True),
        (".tif", {"compression": "jpeg"}, True),
        (".webp", {"lossless": True}, False),
        (".webp", {"lossless": True, "exif": b"Exif\0\0"}, False),
        (".tif", {"compression": "tiff_lzw"}, False),
    ],
)
def test_lossy_class_maps_are_refused(suffix: str, options: dict[str, object], refused: bool, tmp_path: Path) -> None:
    beside(tmp_path, MASK, suffix=suffix, **options)
    if refused:
        with pytest.raises(UsdError, match="lossy: JPEG and lossy WebP mix the colours at class borders"):
            take(tmp_path)
    else:
        take(tmp_path, size=72)
        assert np.array_equal(kept(tmp_path, "0.png", "seg"), ID_COLOURS[MASK])


def clear(mode: str, values: np.ndarray) -> tuple[PIL.Image.Image, dict[str, object]]:
    """A map whose upper rows are clear by a value of the header, and how to save it."""
    shown = np.where(HOLES == 255, values, 99)
    if mode == "P":
        return PIL.Image.fromarray(shown.astype(np.uint8), "P"), {"transparency": 99}
    if mode == "RGB":
        return PIL.Image.fromarray(shown.astype(np.uint8)[..., None].repeat(3, -1)), {"transparency": (99, 99, 99)}
    return PIL.Image.fromarray(shown.astype(np.uint16 if mode == "I;16" else np.uint8)), {"transparency": 99}


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparency_by_a_value_of_the_header_is_that_of_alpha(mode: str, tmp_path: Path) -> None:
    picture, options = clear(mode, BLOCKS)
    if mode == "P":
        picture.putpalette(np.arange(256, dtype=np.uint8).repeat(3).tobytes())
    beside(tmp_path, picture, **options)
    with pytest.raises(UsdError, match="has transparency: is the mask its alpha or its colours"):
        take(tmp_path)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_clear_depth_has_no_reading(mode: str, tmp_path: Path) -> None:
    picture, options = clear(mode, np.tile(np.arange(100, 244, 2), (72, 1)))
    beside(tmp_path, picture, **options)
    (tmp_path / "source/seg").rename(tmp_path / "source/depth")
    found = take(tmp_path, "depth: {kind: inverse, near: 250}")
    assert found["depth/0.png"].detail == "missing readings filled: 41.7%"


@pytest.mark.parametrize("save_as", [lambda a: PIL.Image.fromarray(a), lambda a: PIL.Image.fromarray(a).convert("1")])
def test_a_mask_without_transparency_stays(save_as: Callable[[np.ndarray], PIL.Image.Image], tmp_path: Path) -> None:
    beside(tmp_path, save_as(MASK))
    take(tmp_path, size=72)
    assert np.array_equal(kept(tmp_path, "0.png", "seg"), ID_COLOURS[MASK])


ONES = (BLOCKS > 7).astype(np.uint8)  # of the class that a picture has


def in_alpha(mode: str, number: int) -> PIL.Image.Image:
    """The class `number` as 60, 120 or 180 on a clear background."""
    if mode == "P":
        picture = PIL.Image.fromarray(ONES * number, "P")
        picture.putpalette(np.repeat(np.arange(4, dtype=np.uint8) * 60, 3).tobytes())
        picture.info["transparency"] = 0
        return picture
    grey, alpha = PIL.Image.fromarray(ONES * 60 * number), PIL.Image.fromarray(ONES * 255)
    return PIL.Image.merge(mode, [grey] * (len(mode) - 1) + [alpha])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_masks_in_alpha_of_several_colours_are_asked_about(mode: str, tmp_path: Path) -> None:
    beside(tmp_path, *(in_alpha(mode, number) for number in (1, 2, 3)))
    with pytest.raises(UsdError, match=r"seg/\d\.png and seg/\d\.png: masks in alpha of two colours; .* without alpha"):
        take(tmp_path, "seg: {kind: ids}" if mode == "P" else "")
    for path in tmp_path.glob("source/seg/*.png"):  # what the message says
        PIL.Image.open(path).convert("RGBA").convert("RGB").save(path)
    take(tmp_path, size=72)
    assert len({kept(tmp_path, f"{number}.png", "seg")[ONES > 0].tobytes() for number in range(3)}) == 3


def test_two_ids_of_one_colour_are_not_one_class(tmp_path: Path) -> None:
    """A palette of three colours and then zeros: 255 is as black as 0."""
    maps = [PIL.Image.fromarray(values.astype(np.uint8), "P") for values in (ONES, np.where(ONES, 255, 2))]
    for each in maps:
        each.putpalette(bytes([0, 0, 0, 200, 0, 0, 0, 200, 0, *bytes(759)]))
    beside(tmp_path, *maps)
    with pytest.raises(UsdError, match=r"seg/1\.png: 0 and 255 have one colour .* `seg: {kind: ids}` .* colours}`"):
        take(tmp_path)
    take(tmp_path, "seg: {kind: colours}", size=72)
    assert not kept(tmp_path, "1.png", "seg")[ONES > 0].any()
    take(tmp_path, "seg: {kind: ids, void: none}", size=72)
    assert (kept(tmp_path, "1.png", "seg")[ONES > 0] == ID_COLOURS[255]).all()


def save_few_bits(path: Path, values: np.ndarray, bits: int, **chunks: bytes) -> None:
    """A grey PNG of fewer than 8 bits a pixel, which Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = np.packbits(np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :].reshape(len(values), -1), axis=-1)
    header = struct.pack(">IIBBBBB", *values.shape[::-1], bits, 0, 0, 0, 0)
    parts = {b"IHDR": header} | {name.encode(): data for name, data in chunks.items()}
    parts |= {b"IDAT": zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)), b"IEND": b""}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in parts.items()))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_clear_value_of_few_bits_is_clear(bits: int, tmp_path: Path) -> None:
    most = 2**bits - 1
    values = np.repeat(np.array([0, most], np.uint8), 8)[None].repeat(16, 0)
    save_few_bits(tmp_path / "a.png", values, bits, tRNS=struct.pack(">H", most))
    raw = read_raw(tmp_path / "a.png")
    assert raw.opaque is not None
    assert np.array_equal(raw.opaque, raw.values == 0)


CLASS_COLOURS = PALETTE[[CLASSES.index(name) for name in ("floor", "duck", "mug")]]


@pytest.mark.parametrize(
    ("bits", "declared", "wanted"),
    [
        (4, "", ID_COLOURS[[0, 1, 15]]),
        (2, "", ID_COLOURS[[0, 1, 3]]),
        (1, "", ID_COLOURS[[0, 255, 255]]),  # a mask of 0 and 255
        (1, "{classes: {0: floor, 1: duck}}", CLASS_COLOURS[[0, 1, 1]]),
        (1, "{classes: {0: floor, 255: duck}}", CLASS_COLOURS[[0, 1, 1]]),
        (2, "{classes: {0: floor, 1: duck, 3: mug}}", CLASS_COLOURS),
        (4, "{classes: {0: floor, 1: duck, 15: mug}}", CLASS_COLOURS),
        (1, "{classes: {0: floor, 1: duck}, void: 255}", CLASS_COLOURS[[0, 1, 1]]),
    ],
)
def test_ids_of_few_bits_are_read_as_stored(bits: int, declared: str, wanted: np.ndarray, tmp_path: Path) -> None:
    places = np.searchsorted([0, 7, 15], BLOCKS)
    save(tmp_path / "source/0.png", sight(0, 72, 72))
    save_few_bits(tmp_path / "source/seg/0.png", np.array([0, 1, 2**bits - 1], np.uint8)[places], bits)
    take(tmp_path, f"seg: {declared}" if declared else "", size=72)
    assert np.array_equal(kept(tmp_path, "0.png", "seg"), wanted[places])


@pytest.mark.parametrize(
    ("other", "declared", "said"),
    [
        (BLOCKS, "", r"seg/1\.png has greys from 0 to 3, other class maps do not: declare all in `seg.classes`"),
        (None, "seg: {classes: {0: floor, 85: duck}}", r"seg/1\.png has greys from 0 to 3, not 85, as seg declares"),
        (None, "seg: {void: 255}", r"seg/1\.png has greys from 0 to 3, not 255, as seg declares: say it as stored"),
    ],
)
def test_greys_of_few_bits_that_may_be_shades_are_refused(
    other: np.ndarray | None, declared: str, said: str, tmp_path: Path
) -> None:
    """Programs that shrink PNGs store ids 0 and 85 as 0 and 1, where a picture has no other."""
    beside(tmp_path, *([] if other is None else [other]))
    save(tmp_path / "source/1.png", sight(1, 72, 72))
    save_few_bits(tmp_path / "source/seg/1.png", MASK // 85, 2)
    with pytest.raises(UsdError, match=said):
        take(tmp_path, declared)

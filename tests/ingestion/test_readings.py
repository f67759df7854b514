"""Readings that maps lack or that are out of range, and files of which a decoder keeps less than they hold."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from tests.ingestion.scenery import image, kept, notes, save, sight, take
from usd.errors import UsdError
from usd.ingestion.pictures import Refused, read_picture
from usd.ingestion.raw import read_raw
from usd.ingestion.words import WORDS
from usd.tasks import MAPS, Map

METRES = np.tile(np.linspace(1, 9, 72), (72, 1))  # (72, 72), near on the left
SHARE = (1 / METRES - 1 / 10) / (1 / 0.5 - 1 / 10)  # of the way from far to near
DEPTH, DISPARITY = (
    "depth: {kind: depth, unit: m, near: 0.5, far: 10%s}",
    "depth: {kind: disparity, near: 2, far: 0.1%s}",
)

TWELVE_BITS = np.rint(METRES * 400).astype(np.uint16)
GAPS = np.where(np.arange(72) < 3, 65535, TWELVE_BITS).astype(np.uint16)
UNIT_1 = "kind: depth, unit: 1, near: 400, far: 3600"
VALUES_OF_8_BITS = METRES.astype(np.uint8)
RELATIVE = UNIT_1.replace("1", "relative", 1)


def source(root: Path, name: str, values: np.ndarray) -> None:
    save(root / "source/a.png", sight(1, 72, 72))
    save(root / "source" / name, values)


@pytest.mark.parametrize("gap", [-1, -np.inf, 0, 65535])
@pytest.mark.parametrize("declared", [DEPTH, DISPARITY])
def test_no_reading_is_filled_whatever_stands_for_it(declared: str, gap: float, tmp_path: Path) -> None:
    values = METRES if declared == DEPTH else 1 / METRES
    values = np.where(np.arange(72) < 9, gap, values)
    values[0, 20] = 0  # beside a declared value, 0 is none either
    source(tmp_path, "depth/a.npy", values.astype(np.float32))
    found = take(tmp_path, declared % (", missing: 65535" if gap > 0 else ""), size=72)
    assert "missing readings filled: 12.5%" in found["depth/a.npy"].detail
    depth = kept(tmp_path, "a.png", "depth")[..., 0] / 255
    assert np.abs(depth - SHARE)[:, 9:].max() < 0.01
    assert np.abs(depth[:, :9] - SHARE[0, 9]).max() < 0.01  # the nearest reading


def test_pixels_that_a_colour_map_does_not_have_are_no_readings(tmp_path: Path) -> None:
    values = cv2.applyColorMap(np.rint(SHARE * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()
    values[:, :9] = 0
    source(tmp_path, "depth/a.png", values)
    found = take(tmp_path, "depth: {colormap: viridis}", size=72)
    assert found["depth/a.png"].detail == "missing readings filled: 12.5%"
    depth = kept(tmp_path, "a.png", "depth")[..., 0] / 255
    assert np.abs(depth[:, :9] - SHARE[0, 9]).max() < 0.01
    assert np.abs(depth - SHARE)[:, 9:].max() < 0.01


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photograph_decoded_small_keeps_its_shape(orientation: int, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[274] = orientation
    save(tmp_path / "source/depth/a.png", sight(1, 1000, 257)[..., 0])
    PIL.Image.fromarray(sight(1, 1000, 257)).save(tmp_path / "source/a.jpg", exif=exif)
    take(tmp_path, size=16)


def test_readings_beyond_near_and_far_are_counted_and_too_many_refused(tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", np.where(np.arange(72) < 9, 65535, METRES * 1000).astype(np.uint16))
    found = take(tmp_path, DEPTH.replace("unit: m", "unit: mm") % "", size=72)
    assert found["depth/a.png"].detail == "beyond near or far: 12.5%"
    with pytest.raises(UsdError, match=r"100% of its readings are beyond depth\.near and depth\.far; correct these"):
        take(tmp_path, DEPTH % "", size=72)


@pytest.mark.parametrize(
    ("name", "values", "declared", "said", "better"),
    [
        ("a.png", VALUES_OF_8_BITS, "", "9 of 255, .*: say what they mean", "kind: inverse, near: 9"),
        ("a.png", VALUES_OF_8_BITS, "kind: inverse", "9 of 255, .* near: 34, far: 4", "kind: inverse, near: 9"),
        ("a.png", TWELVE_BITS, "kind: inverse", "3600 of 65535, .* near: 34, far: 4", "kind: inverse, near: 3600"),
        ("a.png", TWELVE_BITS, "kind: inverse, far: 9", "3600 of 65535, .* near: 34", "kind: inverse, near: 3600"),
        ("a.png", GAPS, "kind: inverse, missing: 65535", "3600 of 65535", "kind: inverse, near: 3600, missing: 65535"),
        ("a.png", TWELVE_BITS, "kind: depth, unit: relative", "3600 of 65535, .*`unit: 1`", UNIT_1),
        ("a.png", TWELVE_BITS, "kind: depth, unit: relative", "3600 .*`unit: relative, near: 300, far: 40", RELATIVE),
        ("a.npy", TWELVE_BITS.astype(np.int32), "kind: inverse", "3600 of 2147483647", "kind: inverse, near: 3600"),
        ("a.npy", (METRES / 200).astype(np.float32), "kind: inverse", r"0\.045\d* of 1,", "kind: inverse, near: 0.045"),
    ],
)
def test_low_values_are_asked_for(
    name: str, values: np.ndarray, declared: str, said: str, better: str, tmp_path: Path
) -> None:
    source(tmp_path, f"depth/{name}", values)
    with pytest.raises(UsdError, match=f"depth values of up to {said}"):
        take(tmp_path, f"depth: {{{declared}}}" if declared else "")
    take(tmp_path, f"depth: {{{better}}}")
    assert np.ptp(kept(tmp_path, "a.png", "depth").astype(int)) > 100


@pytest.mark.parametrize(
    ("declared", "kept_as", "shown"),
    [
        ("", "kind: inverse, near: 255", VALUES_OF_8_BITS),
        ("kind: inverse", "kind: inverse, near: 255", VALUES_OF_8_BITS),
        ("kind: depth", "kind: depth, unit: relative, far: 255", 255 - VALUES_OF_8_BITS),
    ],
)
def test_low_values_may_be_said_to_be_meant(declared: str, kept_as: str, shown: np.ndarray, tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", VALUES_OF_8_BITS)
    with pytest.raises(UsdError, match=f"`depth: {{{kept_as}}}` keeps the scale of the file's type"):
        take(tmp_path, f"depth: {{{declared}}}" if declared else "")
    take(tmp_path, f"depth: {{{kept_as}}}", size=72)
    assert np.array_equal(kept(tmp_path, "a.png", "depth")[..., 0], shown)


@pytest.mark.parametrize("far", [3000, 4095])
def test_relative_depth_is_linear_between_near_and_far(far: int, tmp_path: Path) -> None:
    source(tmp_path, "depth/a.png", TWELVE_BITS)
    for near in ("", "near: 400, "):
        found = take(tmp_path, f"depth: {{kind: depth, unit: relative, {near}far: {far}}}", size=72)
        start = 400 if near else 0
        right = 255 * np.clip((far - TWELVE_BITS.astype(float)) / (far - start), 0, 1)
        assert np.abs(kept(tmp_path, "a.png", "depth")[..., 0] - right).max() < 1
        assert found["depth/a.png"].status == ("accepted" if far == 4095 and not near else "repaired")
    assert f"1 depth maps read as depth, near 400, far {far} (declared)" in notes(tmp_path)


@pytest.mark.parametrize(("dim", "declared"), [(1, ""), (25, ""), (1, "hed: {bright: flat}")])
def test_soft_edges_of_low_values_are_refused(dim: int, declared: str, tmp_path: Path) -> None:
    edges = np.where(np.arange(72) % 9, 0, dim)[:, None].repeat(72, 1).astype(np.uint8)
    source(tmp_path, "hed/a.png", 255 - edges if declared else edges)
    with pytest.raises(UsdError, match=f"soft edges of up to {dim} of 255: save them so that the strongest are near"):
        take(tmp_path, declared)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize(
    ("field", "message"),
    {
        "depth": "colours of 16 bits; save depth as a 16-bit grey PNG",
        "seg": "colours of 16 bits; save the class map",
    }.items(),
)
def test_colours_of_16_bits_are_not_read_as_8(field: str, message: str, suffix: str, tmp_path: Path) -> None:
    source(tmp_path, f"{field}/b.png", np.zeros((72, 72), np.uint8))
    wide = np.repeat((METRES * 5000).astype(np.uint16)[..., None], 3, axis=-1)
    assert cv2.imwrite(str(tmp_path / f"source/{field}/a.{suffix}"), wide)
    with pytest.raises(UsdError, match=message):
        take(tmp_path, DEPTH % "" if field == "depth" else "")


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_tiff_is_turned_once(orientation: int, own: bool, tmp_path: Path) -> None:
    """Pillow turns a TIFF by its orientation while it decodes it, and forgets that it had one."""
    exif = PIL.Image.Exif()
    exif[274] = orientation
    stored = sight(1, 72, 72)[..., 0]
    (tmp_path / "source/depth").mkdir(parents=True)
    PIL.Image.fromarray(stored).save(tmp_path / "source/a.tif", exif=exif)
    PIL.Image.fromarray(stored).save(tmp_path / "source/depth/a.tif", exif=exif if own else PIL.Image.Exif())
    if not own:
        with pytest.raises(UsdError, match="`orientation: stored` or `orientation: upright`"):
            take(tmp_path)
    take(tmp_path, "" if own else "orientation: stored", size=72)
    upright = np.rot90(stored, {3: 2, 6: -1, 8: 1}[orientation])
    for field in ("image", "depth"):
        assert np.array_equal(kept(tmp_path, "a.tif", field)[..., 0], upright)


@pytest.mark.parametrize("directions", [True, False])
def test_a_new_map_is_taken_as_it_is_stored(directions: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAPS, "posterize", Map("posterize", "posterized map", trained=True, directions=directions))
    monkeypatch.setitem(WORDS, "posterize", "posterize")
    monkeypatch.setattr("usd.ingestion.scan.FIELDS", ("image", *MAPS))
    exif = PIL.Image.Exif()
    exif[274] = 6
    for number, levels in enumerate((256, 2)):
        save(tmp_path / f"source/{number}.png", sight(number, 96, 96))
        save(
            tmp_path / f"source/posterize/{number}.png",
            sight(number, 96, 96) // (256 // levels) * (255 // (levels - 1)),
        )
    save(tmp_path / "source/grey.png", sight(3, 72, 72))
    save(tmp_path / "source/posterize/grey.png", sight(4, 72, 72)[..., 0])
    for folder in ("", "posterize/"):
        (tmp_path / f"source/{folder}").mkdir(exist_ok=True)
        PIL.Image.fromarray(sight(5, 72, 72)).save(tmp_path / f"source/{folder}turned.png", exif=exif)
    found = take(tmp_path, size=72)
    assert f"{3 if directions else 4} posterize maps read as colours as stored" in notes(tmp_path)
    assert set(np.unique(kept(tmp_path, "1.png", "posterize"))) == {0, 255}
    assert np.array_equal(kept(tmp_path, "grey.png", "posterize")[..., 1], sight(4, 72, 72)[..., 0])
    if directions:
        assert "a posterize map of a turned picture; save both upright" in found["posterize/turned.png"].detail
    else:
        assert np.array_equal(kept(tmp_path, "turned.png", "posterize"), np.rot90(sight(5, 72, 72), -1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("times", "most"), [(16, 12), (4, 3), (257, None)])
def test_colours_of_16_bits_that_are_too_dark_to_see_are_refused(
    times: int, most: int | None, suffix: str, tmp_path: Path
) -> None:
    """Cameras that measure fill the lower bits only."""
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), sight(23).astype(np.uint16) * times)
    if most is None:
        assert read_picture(path, 32).repairs == ("16-bit",)
    else:
        with pytest.raises(Refused, match=f"^colours of 16 bits of up to {most} of 255: .* save it with 8 bits, as it"):
            read_picture(path, 32)


def test_normals_in_floats_say_how_to_save_them(tmp_path: Path) -> None:
    normals = np.zeros((72, 96, 3), np.float32)
    normals[..., 0], normals[:, 48:, 0], normals[..., 2] = 0.6, -0.6, 0.8
    save(tmp_path / "source/a.png", sight(1))
    save(tmp_path / "source/a_normal.npy", normals)
    with pytest.raises(UsdError, match=r"float32; .*; save normals n as PNG of 8 bits, \(n \+ 1\) / 2 \* 255, or move"):
        take(tmp_path)
    (tmp_path / "source/a_normal.npy").unlink()
    save(tmp_path / "source/a_normal.png", ((normals + 1) / 2 * 255).astype(np.uint8))
    take(tmp_path)
    assert np.abs(kept(tmp_path, "a.png", "normal")[16, 4] / 127.5 - 1 - normals[0, 0]).max() < 0.02


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("share", [0.5, 0.8, 0.93])
def test_a_jpeg_that_lacks_data_before_its_end_is_refused(share: float, mode: str, tmp_path: Path) -> None:
    """Its lower part is grey, as that of a whole picture may be."""
    data = BytesIO()
    image(1, mode).save(data, "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(data.getvalue()[: int(share * len(data.getvalue()))] + b"\xff\xd9")
    for read in (lambda path: read_picture(path, 32), read_raw):
        with pytest.raises(
            Refused, match="damaged: data are missing before its end, and its lower part is of one colour"
        ):
            read(path)
    pixels = np.asarray(image(1, mode)).copy()
    pixels[30:] = 128
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        PIL.Image.fromarray(pixels, mode).save(path, **options)
        assert not read_picture(path, 32).blank


@pytest.mark.parametrize(
    ("data", "said"),
    {
        b"\0\0\0\x18ftypheic\0\0\0\0": "HEIC or AVIF whatever its name; convert it to JPEG or PNG",
        b"\0\0\0\x18ftypavif\0\0\0\0": "HEIC or AVIF whatever its name; convert it to JPEG or PNG",
        b"\xef\xbb\xbf <!DOCTYPE html>": "a web page, SVG or other XML whatever its name",
        b"\0\0\0\x18ftypmp42\0\0\0\0": "or its header is damaged",
    }.items(),
)
def test_another_kind_of_file_is_named_whatever_its_name(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    for read in (lambda path: read_picture(path, 32), read_raw):
        with pytest.raises(Refused, match=f"^not a picture.*{said}"):
            read(tmp_path / "a.jpg")

"""Layouts: which files of a folder make a sample; maps are never taken for training pictures."""

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingestion.scenery import kept, notes, save, sight, take
from usd.data.record import read_manifest
from usd.errors import UsdError
from usd.ingestion.captions import from_name, from_text, one_line
from usd.ingestion.names import place_of

DEPTH = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (72, 1))
CLASSES = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((36, 32), np.uint8))


@pytest.mark.parametrize(
    ("image", "file", "field"),
    [
        ("p0.jpg", "p0_depth.png", "depth"),
        ("p0.jpg", "p0-depth.png", "depth"),
        ("p0.JPG", "P0.DEPTH.PNG".replace("P0", "p0"), "depth"),
        ("p0.png", "Depth/p0.png", "depth"),
        ("p0.png", "depths/p0.png", "depth"),
        ("rgb/p0.png", "depth/p0.png", "depth"),
        ("p0.png", "masks/p0.png", "seg"),
        ("p0.png", "labels/p0_mask.png", "seg"),
        ("images/train/p0.png", "labels/train/p0.png", "seg"),
        ("train/images/p0.png", "train/labels/p0.png", "seg"),
        ("JPEGImages/p0.jpg", "SegmentationClass/p0.png", "seg"),
        ("leftImg8bit/train/x/p0_leftImg8bit.png", "gtFine/train/x/p0_gtFine_labelIds.png", "seg"),
        ("image_2/p0.png", "disp_occ_0/p0.png", "depth"),
        (normalize("NFC", "größe.png"), normalize("NFD", "größe_depth.png"), "depth"),
        (normalize("NFD", "größe/é.png"), normalize("NFC", "größe/depth/é.png"), "depth"),
        ("1305031102.175304.png", "depth/1305031102.175304.png", "depth"),
        ("img_0001.png", "depth_0001.png", "depth"),
        ("rgb/rgb_7.png", "depth/depth_7.png", "depth"),
        ("IMG_1234.jpg", "depth/IMG_1234.png", "depth"),
        ("room/rgb.png", "room/depth.png", "depth"),
        ("room/image.png", "room/mask.png", "seg"),
        ("color/0.jpg", "Depth Maps/0.png", "depth"),
        ("x/0.png", "Semantic-Segmentation/x/0.png", "seg"),
        ("p0.png", "p0-depth-map.png", "depth"),
        ("p0.png", "p0_segmentation_mask.png", "seg"),
        ("İ.png", "İ_depth.png", "depth"),
        ("IMG_0.png", "img_0_depth.png", "depth"),
        ("P0.png", "p0_mask.png", "seg"),
        ("IMG_0.png", "IMG_0_mask.png", "seg"),
        ("photos/rgb_7.png", "masks/rgb_7_mask.png", "seg"),
        ("img0.png", "mask0.png", "seg"),
        ("images/img0.png", "labels/label0.png", "seg"),
        ("0.png", "0depth.png", "depth"),
        ("image_20.png", "depth_20.png", "depth"),
        ("Cats/0.png", "depth/cats/0.png", "depth"),
    ],
)
def test_a_map_finds_its_image(image: str, file: str, field: str, tmp_path: Path) -> None:
    save(tmp_path / "source" / image, sight(1))
    save(tmp_path / "source" / file, DEPTH if field == "depth" else CLASSES)
    found = take(tmp_path)
    (row,) = read_manifest(tmp_path / "out").to_dict("records")
    assert row["source"] == image
    assert isinstance(row[f"{field}_sha256"], str)
    assert found[file].status in ("accepted", "repaired")


@pytest.mark.parametrize(
    ("file", "message"),
    {
        "p1_depth.png": "a map without its image",
        "Depth/p1.png": "a map without its image",
        "depth_0001.png": "a map without its image",
        "room/depth.png": "a map without its image",
        "p0_pose.png": "a map of another kind",
        "openpose/p0.png": "a map of another kind",
        "gtFine/p0_gtFine_color.png": "a map of another kind",
        "p0_canny.png": "a canny map is made from the image",
        "labels/p0.txt": "in a folder of maps",
        "p0.npy": "not a picture",
    }.items(),
)
def test_no_map_becomes_a_training_picture(file: str, message: str, tmp_path: Path) -> None:
    save(tmp_path / "source/p0.png", sight(1))
    path = tmp_path / "source" / file
    if path.suffix == ".txt":
        path.parent.mkdir()
        path.write_text("0 0.5 0.5 0.2 0.2")
    else:
        save(path, sight(2))
    assert message in take(tmp_path)[file].detail
    assert list(read_manifest(tmp_path / "out")["source"]) == ["p0.png"]
    assert list(read_manifest(tmp_path / "out")["caption"]) == ["p0"]


def test_words_that_are_no_ending_stay_pictures(tmp_path: Path) -> None:
    names = ["carnival_mask.png", "my_image.png", "my.png", "road label.png", "train/steam.png", "plane/jet.png"]
    names += ["mask off.png", "normal_people.png", "normal1.png", "image_7.png", "7.png", "party/photos.png"]
    for number, name in enumerate(names):
        save(tmp_path / "source" / name, sight(number))
    take(tmp_path)
    assert sorted(read_manifest(tmp_path / "out")["source"]) == sorted(names)
    assert "0 given" in notes(tmp_path)


@pytest.mark.parametrize(("grey", "others"), [(True, "photographs"), (False, "photographs"), (True, "elsewhere")])
def test_a_folder_that_looks_like_maps_of_others_is_refused(grey: bool, others: str, tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"source/photographs/{number}.png", sight(number))
        save(tmp_path / f"source/paintings/{number}.png", sight(number + 40))
        name = f"gt/{number}.png" if others == "photographs" else f"old/{number + 10}.png"
        save(tmp_path / "source" / name, sight(number + 20)[..., 0] if grey else sight(number + 20))
    found = take(tmp_path, "folders: {photographs: image, paintings: image}" if others == "elsewhere" else "")
    refused = grey and others == "photographs"
    why = "all of gt/ is grey or of few colours, and named like paintings/: maps? say what they are in"
    assert found[name].detail.startswith(why) == refused
    assert len(read_manifest(tmp_path / "out")) == (8 if refused else 12)


@pytest.mark.parametrize(
    ("picture", "other", "refused"),
    [
        ("{}_A.png", "{}_B.png", "all of *_B is grey or of few colours, and named like *_A: maps? give their"),
        ("all/{}.png", "all/{}-gt.png", "all of all/*-gt is grey or of few colours, and named like all/: maps? give"),
        ("{}_A.png", "1{}_B.png", ""),  # of other pictures
        ("album/beach_{}.png", "album/grandma_{}.png", ""),  # her old photographs
        ("new/{}_b.png", "old/{}_a.png", ""),
    ],
)
@pytest.mark.parametrize("grey", [True, False])
def test_grey_pictures_named_like_others_of_their_folder_are_refused(
    picture: str, other: str, refused: str, grey: bool, tmp_path: Path
) -> None:
    for number in range(4):
        save(tmp_path / "source" / picture.format(number), sight(number))
        name = other.format(number)
        save(tmp_path / "source" / name, sight(number + 20)[..., 0] if grey else sight(number + 20))
    found = take(tmp_path)
    assert found[name].detail.startswith(refused if grey and refused else ("grey" if grey else ""))
    assert len(read_manifest(tmp_path / "out")) == (4 if grey and refused else 8)


PAIRS = {
    ("A", "B"): "A: …, B: …",
    ("01", "02"): '"01": …, "02": …',
    ("input", "output"): "input: …, output: …",
    ("A/train", "B/train"): "A: …, B: …",
    ("trainA", "trainB"): "trainA: …, trainB: …",
    ("train/x", "train/y"): "x: …, y: …",
    (".", "out"): "out: …",
    ("original", "truth"): "original: image, truth: …",
    ("Images", "GT"): "GT: …, Images: image",
}


@pytest.mark.parametrize(("folders", "said"), PAIRS.items())
@pytest.mark.parametrize("second", [DEPTH, sight(50)], ids=["grey", "colour"])
def test_parallel_folders_of_the_same_names_must_say_what_they_are(
    folders: tuple[str, str], said: str, second: np.ndarray, tmp_path: Path
) -> None:
    for number in range(3):
        suffix = "jpg" if folders[0] == "original" else "png"
        save(tmp_path / "source" / folders[0] / f"{number}.{suffix}", sight(number))
        save(tmp_path / "source" / folders[1] / f"{number}.png", np.roll(second, number, 0))
    with pytest.raises(UsdError, match=rf"pictures of the same names.*`folders: {{{said}}}`") as raised:
        take(tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("declared", "sources", "maps"),
    [
        ("A: image, B: depth", ["A/0.png", "A/1.png", "A/2.png"], True),
        ("a: depth, b: image", ["B/0.png", "B/1.png", "B/2.png"], True),
        ("A: image, B: none", ["A/0.png", "A/1.png", "A/2.png"], False),
        ("A: image, B: image", ["A/0.png", "A/1.png", "A/2.png", "B/0.png", "B/1.png", "B/2.png"], False),
    ],
)
def test_declared_folders_are_what_they_say(declared: str, sources: list[str], maps: bool, tmp_path: Path) -> None:
    for number in range(3):
        grey = np.roll(DEPTH, 9 * number, 1)
        save(tmp_path / f"source/A/{number}.png", grey if "a: depth" in declared else sight(number))
        save(tmp_path / f"source/B/{number}.png", grey if "B: depth" in declared else sight(number + 9))
    take(tmp_path, f"folders: {{{declared}}}")
    table = read_manifest(tmp_path / "out")
    assert sorted(table["source"]) == sources
    assert ("depth_sha256" in table) == maps


def test_a_declared_folder_must_be_there(tmp_path: Path) -> None:
    save(tmp_path / "source/0.png", sight(0))
    with pytest.raises(UsdError, match=r"--maps: folders\.x/C: there is no folder .* own name, such as C$"):
        take(tmp_path, "folders: {x/C: depth}")


def test_splits_classes_and_listed_pictures_may_share_names(tmp_path: Path) -> None:
    """Three folders or more are let through, and so is what a table lists, or folders that are named for splits."""
    folders = ["train/cats", "train/dogs", "train/owls", "val/cats", "val/dogs", "val/owls"]
    for place, folder in enumerate([*folders, "listed/a", "listed/b"]):
        for number in range(3):
            save(tmp_path / "source" / folder / f"{number}.png", sight(10 * place + number))
    rows = [{"file_name": f"{folder}/{number}.png", "text": folder} for folder in "ab" for number in range(3)]
    (tmp_path / "source/listed/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    take(tmp_path)
    assert len(read_manifest(tmp_path / "out")) == 24


def test_rows_of_a_table_keep_their_whole_names(tmp_path: Path) -> None:
    rows = [{"file_name": name, "text": name} for name in ("img_7.png", "7.png", "carnival_mask.png")]
    for number, row in enumerate(rows):
        save(tmp_path / "source" / row["file_name"], sight(number))
    (tmp_path / "source/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    take(tmp_path)
    table = read_manifest(tmp_path / "out")
    assert sorted(table["caption"]) == sorted(table["source"]) == sorted(row["text"] for row in rows)


def fill50k(root: Path, rows: bool) -> None:
    for number in range(3):
        save(root / f"source/target/{number}.png", sight(number))
        save(root / f"source/source/{number}.png", DEPTH)
    lines = [{"source": f"source/{n}.png", "target": f"target/{n}.png", "prompt": f"disc {n}"} for n in range(3)]
    if rows:
        (root / "source/prompt.json").write_text("\n".join(map(json.dumps, lines)))


@pytest.mark.parametrize("rows", [True, False])
def test_controlnets_layout_asks_which_map_it_is(rows: bool, tmp_path: Path) -> None:
    fill50k(tmp_path, rows)
    with pytest.raises(UsdError, match=r"source/0\.png: the layout does not say which map this is.*`condition: dep"):
        take(tmp_path)
    take(tmp_path, "condition: depth")
    table = read_manifest(tmp_path / "out").set_index("source")
    assert sorted(table.index) == [f"target/{n}.png" for n in range(3)]
    assert list(table["caption"].sort_index()) == [f"disc {n}" if rows else f"{n}" for n in range(3)]
    assert table["depth_sha256"].notna().all()
    found = take(tmp_path, "condition: none")
    assert "depth_sha256" not in read_manifest(tmp_path / "out")
    assert found["source/0.png"].detail == "left out: condition: none"


@pytest.mark.parametrize("column", ["conditioning_image", "conditioning_image_file_name", "depth_file_name"])
def test_image_folder_with_a_table(column: str, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"source/train/{number}.png", sight(number))
        save(tmp_path / f"source/train/conditioning/{number}.png", DEPTH)
    rows = [{"file_name": f"{n}.png", column: f"conditioning/{n}.png", "text": f"a ❤️‍🔥 {n}"} for n in range(3)]
    (tmp_path / "source/train/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    take(tmp_path, "condition: depth" if "cond" in column else "")
    table = read_manifest(tmp_path / "out").set_index("source").sort_index()
    assert list(table["caption"]) == [f"a ❤️‍🔥 {n}" for n in range(3)]
    assert table["depth_sha256"].notna().all()
    assert (
        np.abs(kept(tmp_path, "train/0.png", "depth")[5, ::8, 0].astype(int) - np.linspace(32, 223, 32)[::8]).max() < 9
    )
    rows[0][column] = "conditioning/missing.png"
    (tmp_path / "source/train/conditioning/0.png").unlink()
    (tmp_path / "source/train/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = take(tmp_path, "condition: depth" if "cond" in column else "")
    assert found["train/conditioning/missing.png"].detail == "not there; paths in a table are relative to its folder"
    assert found["train/0.png"].status == "refused"


@pytest.mark.parametrize(
    ("text", "caption"),
    {
        "می‌خواهم": "می‌خواهم",
        "👩‍🚀  in\nspace": "👩‍🚀 in space",
        "क्‍ष": "क्‍ष",
        "\ufeffcaf\u00e9\u202e \x07": "café",
        "soft\u00adware": "software",
    }.items(),
)
def test_joiners_stay_in_captions(text: str, caption: str) -> None:
    assert from_text(text) == caption


@given(st.text())
def test_a_caption_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert one_line(line) == line
    assert line == " ".join(line.split())
    assert from_name(text)


def test_a_name_keeps_its_marks() -> None:
    assert from_name(normalize("NFD", "Größe_của-हिन्दी")) == "Größe của हिन्दी"


@given(st.sampled_from(["depth", "hed", "seg", "normal"]), st.sampled_from(list("._-")), st.booleans())
def test_letter_case_and_separator_do_not_matter(field: str, mark: str, upper: bool) -> None:
    word = field.upper() if upper else field
    for file in (Path(f"a/b{mark}{word}.png"), Path(f"a/{word}/b.png")):
        assert (place_of(file).name, place_of(file).field) == ("a/b", field)

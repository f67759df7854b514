"""Names: a map word in a picture's own name makes no map of it, and loses it none."""

from pathlib import Path

import numpy as np
import pytest

from tests.ingestion.scenery import save, sight, take
from usd.data.record import read_manifest
from usd.errors import UsdError
from usd.ingestion.meanings import Maps
from usd.ingestion.sources import LAYOUTS

MASK = np.where(np.arange(96) < 40, 0, 255).astype(np.uint8)[None].repeat(72, 0)


@pytest.mark.parametrize(
    ("image", "mask", "folders"),
    [
        ("images/Normal-{}.png", "masks/Normal-{}.png", ""),
        ("images/Normal-{}.png", "masks/Normal-{}.png", "images: image, masks: seg"),
        ("images/sketch_{}.png", "masks/sketch_{}_mask.png", ""),
        ("NORMAL/normal_{}.png", "NORMAL/normal_{}_mask.png", "NORMAL: image"),
        ("normal/normal ({}).png", "normal/normal ({})_mask.png", "normal: image"),
        ("images/Normal-{}.png", "masks/normal-{}.png", ""),
        ("images/label_{}.png", "masks/label_{}.png", ""),
        ("edge_a{}.png", "edge_a{}_mask.png", ""),
        ("label_a{}.png", "label_a{}_mask.png", ""),
        ("label_edge_a{}.png", "label_edge_a{}_mask.png", ""),
    ],
)
def test_a_picture_named_with_a_word_for_maps_keeps_its_mask(
    image: str, mask: str, folders: str, tmp_path: Path
) -> None:
    for number in range(3):
        save(tmp_path / "source" / image.format(number), sight(number))
        save(tmp_path / "source" / mask.format(number), MASK)
    take(tmp_path, f"folders: {{{folders}}}" if folders else "")
    table = read_manifest(tmp_path / "out")
    assert sorted(table["source"]) == [image.format(number) for number in range(3)]
    assert table["seg_sha256"].notna().all()


def test_a_word_first_makes_a_map_beside_its_image_in_a_folder_of_images(tmp_path: Path) -> None:
    save(tmp_path / "source/images/rgb_0001.png", sight(1))
    save(tmp_path / "source/images/mask_0001.png", MASK)
    take(tmp_path)
    assert list(read_manifest(tmp_path / "out")["source"]) == ["images/rgb_0001.png"]


@pytest.mark.parametrize("folder", ["annotations", "labels", "mask", "depth", "conditioning"])
@pytest.mark.parametrize("table", [False, True])
def test_a_word_first_makes_a_map_in_a_folder_for_maps_of_images_without_it(
    folder: str, table: bool, tmp_path: Path
) -> None:
    names = [f"{word}000{number}" for number in range(3) for word in ("depth_", "normal_", "edge_")]
    for name in [f"images/000{number}" for number in range(3)] + [f"{folder}/{name}" for name in names]:
        save(tmp_path / f"{name}.png", MASK)
    if table:
        rows = "".join(f"images/000{number}.png,a caption\n" for number in range(3))
        (tmp_path / "metadata.csv").write_text(f"file_name,text\n{rows}")
    words = {"depth": "depth_", "hed": "edge_", "normal": "normal_"}
    assert [each.files for each in LAYOUTS["folder"](tmp_path, Maps()).samples] == [
        {"image": Path(f"images/000{number}.png")}
        | {field: Path(f"{folder}/{word}000{number}.png") for field, word in words.items()}
        for number in range(3)
    ]


def test_a_picture_of_a_table_keeps_its_mask_whatever_its_name(tmp_path: Path) -> None:
    for name in ("normal_0.png", "masks/normal_0.png"):
        save(tmp_path / name, MASK)
    (tmp_path / "metadata.csv").write_text("file_name,text\nnormal_0.png,a caption\n")
    files = {"image": Path("normal_0.png"), "seg": Path("masks/normal_0.png")}
    assert [each.files for each in LAYOUTS["folder"](tmp_path, Maps()).samples] == [files]


@pytest.mark.parametrize("name", ["masks/pose_0001.png", "poses/0001.png", "masks/img_0001.png", "masks/gt0001.png"])
def test_a_map_of_a_known_image_is_not_called_a_picture(name: str, tmp_path: Path) -> None:
    save(tmp_path / "source/images/0001.png", sight(1))
    save(tmp_path / "source" / name, MASK)
    found = take(tmp_path)[name]
    assert (found.status, "image}" in found.detail) == ("refused", False)


@pytest.mark.parametrize("folder", ["NORMAL", "sketch"])
def test_a_class_that_is_called_as_maps_are_can_be_declared(folder: str, tmp_path: Path) -> None:
    for number, name in enumerate((f"{folder}/0.png", "others/1.png")):
        save(tmp_path / "source" / name, sight(number))
    said = take(tmp_path)[f"{folder}/0.png"].detail
    declared = f"folders: {{{folder}: image}}"
    assert said.endswith(f"; if {folder}/ holds pictures, say so in maps.yaml: `{declared}`")
    take(tmp_path, declared)
    assert len(read_manifest(tmp_path / "out")) == 2


def test_what_is_in_a_folder_of_no_use_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "source/0.png", sight(1))
    for name in ("0_mask.png", "mask_0.png"):
        save(tmp_path / "source/old" / name, MASK)
    found = take(tmp_path, "folders: {old: none}")
    assert {found[f"old/{name}"].detail for name in ("0_mask.png", "mask_0.png")} == {"left out: its folder is none"}
    assert "seg_sha256" not in read_manifest(tmp_path / "out")


def cityscapes(root: Path, *endings: str) -> None:
    """Pictures in the folders of Cityscapes, and maps whose names end so."""
    for number in range(3):
        name = f"train/aachen/aachen_00000{number}_000019_"
        save(root / f"source/leftImg8bit/{name}leftImg8bit.png", sight(number))
        for ending in endings:
            values = sight(number + 10) if ending.endswith("color") else (MASK // 9).astype(np.uint16)
            values = values if "label" not in ending else values.astype(np.uint8)
            save(root / f"source/{ending.partition('_')[0]}/{name}{ending}.png", values)


@pytest.mark.parametrize("folder", ["gtFine", "gtCoarse"])
def test_of_the_maps_of_cityscapes_the_class_ids_are_taken(folder: str, tmp_path: Path) -> None:
    cityscapes(tmp_path, *(f"{folder}_{kind}" for kind in ("color", "instanceIds", "labelIds")))
    found = take(tmp_path)
    table = read_manifest(tmp_path / "out")
    assert len(table) == 3
    assert table["source"].str.startswith("leftImg8bit/").all()
    assert table["seg_sha256"].notna().all()
    refused = [name for name, each in found.items() if each.status == "refused"]
    assert all("color" in name or "instanceIds" in name for name in refused)


@pytest.mark.parametrize(
    ("endings", "said", "declared"),
    [
        (
            ("gtFine_labelIds", "gtFine_labelTrainIds"),
            r"2 files claim to be one seg, \*_gtFine_labelIds\.png and \*_gtFine_labelTrainIds\.png; keep one, and mo",
            "",
        ),
        (
            ("gtFine_labelIds", "gtCoarse_labelIds"),
            r"seg, gtCoarse/ and gtFine/; leave out all but one in maps\.yaml, as `folders: \{gtCoarse: none\}`",
            "folders: {gtCoarse: none}",
        ),
    ],
)
def test_two_maps_of_a_kind_are_told_apart_and_one_may_go(
    endings: tuple[str, ...], said: str, declared: str, tmp_path: Path
) -> None:
    cityscapes(tmp_path, *endings)
    with pytest.raises(UsdError, match=said):
        take(tmp_path)
    if not declared:
        for path in tmp_path.glob(f"source/**/*{endings[-1]}.png"):
            path.rename(tmp_path / path.name)
    take(tmp_path, declared)
    assert read_manifest(tmp_path / "out")["seg_sha256"].notna().sum() == 3


@pytest.mark.parametrize("name", ["normal_001.jpg", "eyes/001_normal.jpg", "1_canny.jpg"])
def test_a_picture_with_the_name_of_a_map_is_taken_once_a_table_lists_it(name: str, tmp_path: Path) -> None:
    for number, each in enumerate((name, "other.jpg")):
        save(tmp_path / "source" / each, sight(number))
    said = take(tmp_path)[name].detail
    assert said.endswith("; if it is a picture, rename it, or list it in metadata.csv beside it: file_name,text")
    table = (tmp_path / "source" / name).with_name("metadata.csv")
    table.write_text(f"file_name,text\n{Path(name).name},an eye\n")
    take(tmp_path)
    assert len(read_manifest(tmp_path / "out")) == 2

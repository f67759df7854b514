"""Where maps lie: folders in one another, splits, whole file names; what has no image says where to put it."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.ingestion.scenery import notes, save, sight, take
from usd.data.record import read_manifest
from usd.errors import UsdError

CLASSES = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((36, 32), np.uint8))


def lay(root: Path, *pairs: tuple[str, str], count: int = 3) -> None:
    """Pictures and their class maps, by patterns of their names."""
    for place, (image, mask) in enumerate(pairs):
        for number in range(count):
            save(root / "source" / image.format(number), sight(10 * place + number))
            save(root / "source" / mask.format(number), np.roll(CLASSES, 9 * number + 30 * place, 1))


def paired(root: Path) -> dict[str, bool]:
    """Whether a class map was taken with each picture."""
    table = read_manifest(root / "out").set_index("source")
    return (table["seg_sha256"].notna() if "seg_sha256" in table else table["seed"] < 0).to_dict()


@pytest.mark.parametrize(
    ("image", "mask", "folders"),
    [
        ("images/images/{}.jpg", "masks/masks/{}.png", ""),
        ("images/images/{}.jpg", "masks/masks/{}.png", "images: image, masks: seg"),
        ("images/images/{}.jpg", "images/masks/{}.png", ""),
        ("segmentation/images/{}.jpg", "segmentation/masks/{}.png", ""),
        ("labels/rgb/{}.jpg", "labels/labels/{}.png", ""),
        ("images/{}.jpg", "annotations/trimaps/{}.png", "trimaps: seg"),
        ("images/train/{}.jpg", "labels/masks/train/{}.png", ""),
        ("images/{}.jpg", "masks/{}.jpg.png", ""),
        ("{}.JPG", "{}.jpg_mask.png", ""),
        ("images/rgb_{}.jpg", "masks/rgb_{}.jpg.png", ""),
        ("train/{}.jpg", "train_masks/{}_mask.png", "train: image, train_masks: seg"),
        ("train/{}.jpg", "masks/{}.png", "train: image, masks: seg"),
    ],
)
def test_a_map_finds_its_image_wherever_it_lies(image: str, mask: str, folders: str, tmp_path: Path) -> None:
    lay(tmp_path, (image, mask))
    take(tmp_path, f"folders: {{{folders}}}" if folders else "")
    assert paired(tmp_path) == {image.format(number): True for number in range(3)}


def test_a_map_is_first_of_the_picture_whose_folder_is_beside_its_own(tmp_path: Path) -> None:
    lay(tmp_path, ("segmentation/images/{}.jpg", "segmentation/masks/{}.png"))
    for number in range(3):
        save(tmp_path / f"source/images/{number}.jpg", sight(number + 20))
    take(tmp_path)
    assert paired(tmp_path) == {
        f"{folder}images/{number}.jpg": bool(folder) for folder in ("segmentation/", "") for number in range(3)
    }


def test_pictures_in_a_folder_of_the_same_name_stay_apart(tmp_path: Path) -> None:
    names = [*(f"photos/{number}.jpg" for number in range(6)), "photos/photos/0.jpg", "photos/photos/1.jpg"]
    for number, name in enumerate(names):
        save(tmp_path / "source" / name, sight(number))
    take(tmp_path)
    assert sorted(paired(tmp_path)) == sorted(names)


@pytest.mark.parametrize(
    "folders",
    [
        ("{}", "{}annot"),
        ("{}A", "{}B"),
        ("{}2017", "annotations/stuff_{}2017_pixelmaps"),
        ("ISIC_{}_Input", "ISIC_{}_GroundTruth"),
    ],
)
def test_declared_folders_of_splits_may_share_numbers(folders: tuple[str, str], tmp_path: Path) -> None:
    pairs = [tuple(f"{folder.format(split)}/{{}}.png" for folder in folders) for split in ("train", "val")]
    lay(tmp_path, *pairs)  # type: ignore[arg-type]
    named = [[folder.format(split).rpartition("/")[2] for split in ("train", "val")] for folder in folders]
    declared = ", ".join(
        f"{name}: {field}" for names, field in zip(named, ("image", "seg"), strict=True) for name in names
    )
    take(tmp_path, f"folders: {{{declared}}}")
    assert paired(tmp_path) == {pair[0].format(number): True for pair in pairs for number in range(3)}


def test_declared_splits_are_no_part_of_names_that_differ_anyway(tmp_path: Path) -> None:
    lay(tmp_path, ("trainA/{}.png", "trainB/{}.png"), ("testA/1{}.png", "testB/1{}.png"))
    for number, name in enumerate(("0", "1", "2", "10", "11", "12")):
        save(tmp_path / f"source/depth/{name}.png", sight(number)[..., 0])
        (tmp_path / f"source/{name}.txt").write_text("a caption")
    take(tmp_path, "folders: {trainA: image, testA: image, trainB: seg, testB: seg}")
    table = read_manifest(tmp_path / "out")
    assert len(table) == 6
    assert table[["seg_sha256", "depth_sha256"]].notna().all(axis=None)
    assert set(table["caption"]) == {"a caption"}


def test_only_maps_may_be_in_declared_folders_of_splits(tmp_path: Path) -> None:
    lay(tmp_path, ("images/{}.png", "train_masks/{}.png"))
    (tmp_path / "source/val_masks").mkdir()
    (tmp_path / "source/train_masks/2.png").rename(tmp_path / "source/val_masks/2.png")
    take(tmp_path, "folders: {train_masks: seg, val_masks: seg}")
    assert paired(tmp_path) == {f"images/{number}.png": True for number in range(3)}


def test_a_map_folder_of_all_splits_stays_one(tmp_path: Path) -> None:
    """Where a declared folder has no split in its name, no name has."""
    lay(tmp_path, ("train/a{}.png", "annot/a{}.png"), ("test/b{}.png", "annot/b{}.png"))
    take(tmp_path, "folders: {train: image, test: image, annot: seg}")
    assert len(paired(tmp_path)) == 6
    assert all(paired(tmp_path).values())


@pytest.mark.parametrize(
    ("image", "mask", "said"),
    [
        ("images/train/{}.jpg", "masks/{}.png", "no picture is called 0; if it is that of {}, move it to masks/train/"),
        ("images/{}.jpg", "masks/car/{}.png", "no picture is called car/0; if it is that of {}, move it to masks/"),
        ("train/{}.jpg", "seg/{}_mask.png", "no picture is called 0; if it is that of {}, move it to seg/train/"),
        ("x/rgb/y/{}.jpg", "x/masks/{}.png", "no picture is called x/0; if it is that of {}, move it to x/masks/y/"),
        ("train/{}.jpg", "{}_seg.png", "no picture is called 0; if it is that of {}, move it to train/"),
    ],
)
def test_a_map_without_its_image_says_where_it_would_have_one(image: str, mask: str, said: str, tmp_path: Path) -> None:
    lay(tmp_path, (image, mask))
    found = take(tmp_path)
    assert said.format(image.format(0)) in found[mask.format(0)].detail
    assert "3 of 3 seg maps have no image, and are not used" in notes(tmp_path)
    for number in range(3):
        file = mask.format(number)
        folder = re.search(r"move it to ([^;]+)", found[file].detail)
        assert folder is not None
        (tmp_path / "source" / folder[1]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / file).rename(tmp_path / "source" / folder[1] / Path(file).name)
    assert all(each.status != "refused" for each in take(tmp_path).values())
    assert "3 seg maps read as" in notes(tmp_path)


def test_a_map_that_may_be_of_two_images_is_put_beside_neither(tmp_path: Path) -> None:
    lay(tmp_path, ("images/train/{}.png", "masks/{}.png"), ("images/val/{}.png", "masks/{}.png"))
    said = take(tmp_path)["masks/0.png"].detail
    assert "of images/train/0.png or images/val/0.png, move it to masks/train/ or masks/val/" in said


def test_maps_in_a_folder_of_another_kind_may_be_declared(tmp_path: Path) -> None:
    lay(tmp_path, ("images/{}.png", "annotations/trimaps/{}.png"))
    said = take(tmp_path)["annotations/trimaps/0.png"].detail
    assert said.endswith("if it is one of these, say which in maps.yaml: `folders: {trimaps: …}`")
    take(tmp_path, "folders: {trimaps: seg}")
    assert all(paired(tmp_path).values())


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    lay(tmp_path, ("room/{}.jpg", "room/{}.png"))
    said = (
        r"2 files claim to be one image, \*\.jpg and \*\.png; if one is a map, call it such as \*\.depth\.png; .* \(6"
    )
    with pytest.raises(UsdError, match=said):
        take(tmp_path)
    lay(tmp_path, ("train/{}.png", "a.png"), ("test/{}.png", "a.png"))
    lay(tmp_path, ("b{}.png", "images/b{}.png"))
    found = take(tmp_path, "folders: {train: image, test: image, room: seg}")
    for name, told in (("train/0.png", "test/ and train/"), ("b0.png", "./ and images/")):
        assert found[name].detail == f"2 files claim to be one image, {told}; give them different names, or keep one"


def test_of_a_folder_of_maps_in_another_the_inner_one_can_be_left_out(tmp_path: Path) -> None:
    lay(tmp_path, ("images/{}.png", "masks/{}.png"), ("images/{}.png", "masks/semantic/{}.png"))
    declared = "folders: {semantic: none}"
    with pytest.raises(UsdError, match=f"2 files claim to be one seg, .* as `{declared}` does"):
        take(tmp_path)
    take(tmp_path, declared)
    assert all(paired(tmp_path).values())


def test_a_folder_with_a_number_for_its_name_is_declared_in_quotes(tmp_path: Path) -> None:
    lay(tmp_path, ("images/{}.png", "01/{}.png"), ("images/{}.png", "01/02/{}.png"))
    save(tmp_path / "source/02/alone.png", CLASSES)
    save(tmp_path / "source/images/other.png", sight(9))
    found = take(tmp_path, 'folders: {"01": seg, "02": seg}')
    assert found["02/alone.png"].detail.endswith('if 02/ holds pictures, say so in maps.yaml: `folders: {"02": image}`')
    assert 'leave out all but one in maps.yaml, as `folders: {"02": none}` does' in found["01/0.png"].detail


@pytest.mark.parametrize("name", ["0.jpg.txt", "0.JPG.txt", "0.txt"])
def test_a_caption_may_have_the_whole_name_of_its_picture(name: str, tmp_path: Path) -> None:
    save(tmp_path / "source/0.jpg", sight(1))
    (tmp_path / "source" / name).write_text("a caption")
    take(tmp_path)
    assert list(read_manifest(tmp_path / "out")["caption"]) == ["a caption"]

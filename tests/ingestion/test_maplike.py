"""Pictures that look like maps, unlike the others of their source: refused; ordinary photographs stay."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.ingestion.scenery import notes, save, sight, take
from usd.data.record import read_manifest
from usd.errors import UsdError

COUNT = 4
LOOKS = {
    "colour": lambda number: sight(number + 20),
    "grey": lambda number: sight(number + 20)[..., 0],
    "deep": lambda number: sight(number + 20)[..., 0].astype(np.uint16) * 257,
    "few": lambda number: np.where(sight(number + 20)[..., 0] > 128, 255, 0).astype(np.uint8),
    "palette": lambda number: np.asarray(PIL.Image.fromarray(sight(number + 20)).quantize(200).convert("RGB")),
}


def source(root: Path, picture: str, other: str, look: str) -> list[str]:
    """Photographs in colour, and others of some look; returns the names of these."""
    for number in range(COUNT):
        save(root / "source" / picture.format(number), sight(number))
        path = root / "source" / other.format(number)
        save(path, LOOKS[look](number))
        if look == "palette":
            PIL.Image.open(path).quantize(200).save(path)
    return [other.format(number) for number in range(COUNT)]


@pytest.mark.parametrize(
    ("picture", "other", "look"),
    [
        ("image/a_image_00{}_image_02.png", "groundtruth_depth/a_groundtruth_depth_00{}_image_02.png", "deep"),
        ("image/a_image_00{}_image_02.png", "groundtruth_depth/a_groundtruth_depth_00{}_image_02.png", "grey"),
        ("frames/frame_00{}.png", "depths_mm/d_00{}.png", "deep"),
        ("CelebA-HQ-img/{}.jpg", "CelebAMask-HQ-mask-anno/0/0000{}_hair.png", "few"),
        ("CelebA-HQ-img/{}.jpg", "CelebAMask-HQ-mask-anno/0/0000{}_hair.png", "grey"),
        ("images/0{}-pic.jpg", "export/task-{0}-annotation-{0}-by-1-tag-cat-0.png", "few"),
        ("final/frame.000{}.tonemap.jpg", "geometry/frame.000{}.depth_meters.png", "grey"),
        ("final/frame.000{}.tonemap.jpg", "geometry/frame.000{}.normal_cam.png", "colour"),
        ("final/frame.000{}.tonemap.jpg", "geometry/frame.000{}.semantic.png", "colour"),
        ("rgb/Camera_0/rgb_0000{}.jpg", "classSegmentation/Camera_0/classgt_0000{}.png", "grey"),
        ("images/2{}_training.tif", "1st_manual/2{}_manual1.gif", "few"),
        ("{}_json/img.png", "{}_json/label_viz.png", "colour"),
        ("Image000{}.png", "IndexOB000{}.png", "few"),
        ("im_{}.jpg", "gt_{}.png", "few"),
        ("im_{}.jpg", "gt_{}.png", "grey"),
        ("photos/IMG_100{}.jpg", "groundtruth/00{}.png", "few"),
    ],
)
def test_maps_that_no_name_gives_away_are_refused(picture: str, other: str, look: str, tmp_path: Path) -> None:
    others = source(tmp_path, picture, other, look)
    found = take(tmp_path)
    assert [found[name].status for name in others] == ["refused"] * COUNT
    assert "maps?" in found[others[0]].detail
    assert len(read_manifest(tmp_path / "out")) == COUNT


def test_overlays_beside_class_maps_are_refused(tmp_path: Path) -> None:
    others = source(tmp_path, "JPEGImages/{}.jpg", "SegmentationClassVisualization/{}.jpg", "colour")
    for number in range(COUNT):
        for folder in ("SegmentationClass", "SegmentationClassPNG"):
            save(tmp_path / f"source/{folder}/{number}.png", sight(number)[..., 0] // 128)
    found = take(tmp_path)
    assert [found[name].status for name in others] == ["refused"] * COUNT


@pytest.mark.parametrize(
    ("picture", "other", "look", "noted"),
    [
        ("new/{}.jpg", "album/grandma_{}.jpg", "grey", "such as album/grandma_0.jpg; if they are maps"),
        ("img_{}.jpg", "animation_{}.gif", "palette", "such as animation_0.gif; if they are maps"),
        ("without_cap/{}.jpg", "with_mask/1{}.jpg", "colour", ""),
        ("wine_{}_front.jpg", "wine_{}_label.jpg", "colour", ""),
        ("acne/{}.jpg", "normal_skin/1{}.jpg", "colour", ""),
        ("b/Sick ({}).jpg", "a/Normal ({}).jpg", "colour", ""),
        ("lens_wide_{}.jpg", "lens_normal_{}.jpg", "colour", ""),
        ("2019 Light House {}.jpg", "2019 Depth Charge {}.jpg", "colour", ""),
        ("city/{}.jpg", "depth_of_field/1{}.jpg", "colour", ""),
    ],
)
def test_ordinary_pictures_stay(picture: str, other: str, look: str, noted: str, tmp_path: Path) -> None:
    source(tmp_path, picture, other, look)
    take(tmp_path)
    assert len(read_manifest(tmp_path / "out")) == 2 * COUNT
    assert (noted in notes(tmp_path)) if noted else ("grey or of few colours" not in notes(tmp_path))


@pytest.mark.parametrize("look", ["grey", "few", "deep"])
def test_pictures_that_all_look_alike_stay(look: str, tmp_path: Path) -> None:
    for number in range(COUNT):
        save(tmp_path / f"source/chest_normal/a{number}.png", LOOKS[look](number))
        save(tmp_path / f"source/chest_other/b{number}.png", LOOKS[look](number + 10))
    take(tmp_path)
    assert len(read_manifest(tmp_path / "out")) == 2 * COUNT
    assert "grey or of few colours" not in notes(tmp_path)


@pytest.mark.parametrize("said", ["folders", "captions"])
def test_what_is_said_to_be_pictures_is_taken(said: str, tmp_path: Path) -> None:
    others = source(tmp_path, "photos/{}.jpg", "2 masks/cut_{}.png", "few")
    assert take(tmp_path)[others[0]].detail.endswith(
        'say which in maps.yaml, `folders: {"2 masks": …}`: depth, hed, seg, normal, image or none'
    )
    if said == "captions":
        for name in others:
            (tmp_path / "source" / name).with_suffix(".txt").write_text("a paper mask")
    take(tmp_path, 'folders: {"2 masks": image}' if said == "folders" else "")
    assert len(read_manifest(tmp_path / "out")) == 2 * COUNT
    assert "grey or of few colours" not in notes(tmp_path)


def test_maps_do_not_take_the_place_of_pictures_that_are_refused(tmp_path: Path) -> None:
    source(tmp_path, "rgb/{}.jpg", "ids/1{}.png", "few")
    for number in range(COUNT):
        save(tmp_path / f"source/depth/{number}.png", LOOKS["deep"](number))  # without a declared unit
    with pytest.raises(UsdError, match=r"depth values of 16 bits.*all of ids/ has few colours, unlike the other"):
        take(tmp_path)

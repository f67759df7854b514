"""Grey pictures whose names are those of other pictures with an ending: maps, and refused."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.ingestion.scenery import notes, save, sight, take
from usd.data.record import read_manifest
from usd.ingestion.findings import TOGETHER


@pytest.mark.parametrize(
    ("picture", "other"),
    [
        ("x_{}.jpg", "x_{}_depth_mask.png"),
        ("x_{}.jpg", "x_{}.class_id.png"),
        ("point_{}_view_0_domain_rgb.png", "point_{}_view_0_domain_depth_euclidean.png"),
        ("rgb/point_{}_view_0_rgb.png", "mask_valid/point_{}_view_0_mask_valid.png"),
        ("frame.{}.color.jpg", "frame.{}.render_entity_id.png"),
        ("ADE_train_{}.jpg", "ADE_train_{}_parts_1.png"),
        ("leftImg8bit/train/a_{}_leftImg8bit.png", "gtRough/train/a_{}_gtRough_classIds.png"),
        ("photographs/{}.jpg", "others/{}_bw_2.png"),
    ],
)
@pytest.mark.parametrize("kind", ["grey", "palette", "few", "colour"])
def test_endings_of_several_words_are_endings(picture: str, other: str, kind: str, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "source" / picture.format(number), sight(number))
        path = tmp_path / "source" / other.format(number)
        save(path, sight(number + 20)[..., 0] if kind == "grey" else sight(number + 20))
        if kind == "palette":
            PIL.Image.open(path).quantize(9).save(path)
        if kind == "few":
            PIL.Image.open(path).quantize(9).convert("RGB").save(path)
    found = take(tmp_path)
    refused = [name for name, each in found.items() if each.status == "refused"]
    coloured = kind == "colour"
    assert refused == ([] if coloured and "depth" not in other else [other.format(number) for number in range(3)])
    why = "is called as maps of other pictures are" if coloured else "is grey or of few colours, and named like"
    assert not refused or why in found[refused[0]].detail


@pytest.mark.parametrize("other", ["grandma_{}_old_1.png", "old/x_{}_2.png", "y_{}_very_old.png"])
def test_grey_pictures_of_other_names_stay(other: str, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"source/x_{number}_1.png", sight(number))
        save(tmp_path / "source" / other.format(number), np.asarray(sight(number + 20)[..., 0]))
    take(tmp_path)
    assert len(read_manifest(tmp_path / "out")) == 6


def test_maps_that_are_numbered_go_together(tmp_path: Path) -> None:
    """Each picture has a mask, one of them a second one; what is named otherwise, or in colour, stays."""
    for number in range(4):
        save(tmp_path / f"source/x_{number}.png", sight(number))
        save(tmp_path / f"source/x_{number}_part_1.png", sight(number + 20)[..., 0])
    save(tmp_path / "source/x_0_part_12.png", sight(40)[..., 0])
    save(tmp_path / "source/x_1_part_2.png", sight(41))
    save(tmp_path / "source/y_0_part_2.png", sight(42)[..., 0])
    found = take(tmp_path)
    refused = {name for name, each in found.items() if each.status == "refused"}
    assert refused == {"x_0_part_12.png", *(f"x_{number}_part_1.png" for number in range(4))}


@pytest.mark.parametrize(
    ("other", "look", "own", "taken"),
    [
        ("x (1)_mask_1.png", "few", "colour", False),
        ("x (1)_mask_1.png", "few", "grey", False),
        ("x (1)_mask_1.png", "grey", "colour", False),
        ("x (1).Mask (2).png", "few", "colour", False),
        ("x (1)_trimap2.png", "few", "colour", False),
        ("x (1)_mask_1.png", "colour", "colour", True),  # somebody with a mask
        ("x (1)_mask_1.png", "grey", "grey", True),
        ("x (1)_normal_1.png", "grey", "colour", True),
        ("x (1)_image_1.png", "few", "colour", True),
        ("x (1)_pose_1.png", "few", "few", True),  # drawings
        ("y (1)_mask_1.png", "few", "colour", True),
    ],
)
def test_a_numbered_map_is_no_picture(other: str, look: str, own: str, taken: bool, tmp_path: Path) -> None:
    looks: dict[str, Callable[[int], np.ndarray]] = {
        "few": lambda seed: sight(seed)[..., 0] // 128 * 255,
        "grey": lambda seed: sight(seed)[..., 0],
        "colour": sight,
    }
    for number in range(3):
        save(tmp_path / f"source/x ({number}).png", looks[own](number))
        save(tmp_path / f"source/x ({number})_mask.png", sight(number)[..., 0] // 128 * 255)
    save(tmp_path / "source" / other, looks[look](9))
    found = take(tmp_path)
    assert (found[other].status == "refused") != taken
    assert taken or "named like a map of x (1).png: if it is one, join it with the others" in found[other].detail
    with_it = "mask" in other.lower() and not taken
    assert found["x (1).png"].detail == (f"{TOGETHER}: {other} is refused" if with_it else found["x (0).png"].detail)


def test_a_numbered_drawing_beside_a_refused_one_stays(tmp_path: Path) -> None:
    for name in ("x", "x_pose_1"):
        save(tmp_path / f"source/{name}.png", sight(len(name))[..., 0] // 128 * 255)
    save(tmp_path / "source/x.normal.png", sight(4))
    found = take(tmp_path)
    assert {name: each.status for name, each in found.items() if name != "(dataset)"} == {
        "x.png": "refused",
        "x.normal.png": "refused",
        "x_pose_1.png": "repaired",
    }


@pytest.mark.parametrize("said", ["caption", "folders"])
def test_a_numbered_map_may_be_said_to_be_a_picture(said: str, tmp_path: Path) -> None:
    save(tmp_path / "source/x/a.png", sight(1))
    save(tmp_path / "source/x/a_mask_1.png", sight(9)[..., 0] // 128 * 255)
    if said == "caption":
        (tmp_path / "source/x/a_mask_1.txt").write_text("a paper mask")
    take(tmp_path, "folders: {x: image}" if said == "folders" else "")
    assert len(read_manifest(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    ("other", "named"),
    {
        "x_0_class_id.png": "an ending: 1, such as x_0_class_id.png beside x_0.png; if they are maps",
        "x_0_2.png": "",  # numbered, as pictures of one thing are
        "old/x_0_bw.png": "",
        "z_0_bw.png": "",
    }.items(),
)
def test_a_single_picture_that_may_be_a_map_is_noted(other: str, named: str, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"source/x_{number}.png", sight(number))
    save(tmp_path / "source" / other, sight(20)[..., 0])
    take(tmp_path)
    assert len(read_manifest(tmp_path / "out")) == 4
    assert bool(re.search(named or "named like another", notes(tmp_path))) == bool(named)


@pytest.mark.parametrize(
    ("picture", "other", "declared"),
    [
        ("train/{}.jpg", "train_masks/{}_mask.png", "train: image, train_masks: …"),
        ("a/img/{}.jpg", "a/machine/{}.png", "img: image, machine: …"),
        ("a/img/{}.jpg", "a/02/{}.png", 'img: image, "02": …'),
        ("{}.jpg", "gt/{}.png", "gt: …"),
        ("one/x/{}.jpg", "two/y/{}_B.png", ""),
        ("one/{}.jpg", "two/{}_B.png", ""),
    ],
)
def test_what_the_message_says_makes_maps_of_them(picture: str, other: str, declared: str, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "source" / picture.format(number), sight(number))
        save(tmp_path / "source" / other.format(number), sight(number + 20)[..., 0] // 64)
        if "_" not in other:  # two folders alone would be asked about
            save(tmp_path / "source" / Path(other).parents[1] / f"more/{number}.png", sight(number + 40)[..., 0])
    said = take(tmp_path)[other.format(0)].detail
    assert (f"`folders: {{{declared}}}`: depth, hed, seg, normal, " in said) == bool(declared)
    if not declared:
        folder = Path(picture).parent
        assert f"move them to {folder}/, and give their pictures' whole names an ending" in said
        for number in range(3):
            path = tmp_path / "source" / other.format(number)
            path.rename(tmp_path / "source" / folder / f"{number}_seg.png")
    more = ", more: none" if "_" not in other else ""
    take(tmp_path, f"folders: {{{declared.replace('…', 'seg')}{more}}}" if declared else "")
    assert "3 seg maps read" in notes(tmp_path)
    assert len(read_manifest(tmp_path / "out")) == 3


@pytest.mark.parametrize("inside", ["", "train/"])
def test_a_whole_folder_may_be_declared_to_hold_pictures(inside: str, tmp_path: Path) -> None:
    for number in range(3):
        for folder in ("one", "two"):
            save(tmp_path / f"source/{folder}/{inside}{number}.png", sight(number + 20 * (folder == "two")))
        save(tmp_path / f"source/grey/{inside}{number}.png", sight(number + 40)[..., 0])
    declared = "folders: {one: image, grey: …}"
    assert f"`{declared}`: depth, hed, seg, normal, image or none" in take(tmp_path)[f"grey/{inside}0.png"].detail
    take(tmp_path, declared.replace("…", "image"))
    assert len(read_manifest(tmp_path / "out")) == 9

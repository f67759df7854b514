"""Names: a map word in a picture's own name makes no map of it, and loses it none."""

from pathlib import Path

import numpy as np
import pytest

from tests.ingestion.scenery import save, sight, take
from usd.data.record import read_manifest

MASK = np.where(np.arange(96) < 40, 0, 255).astype(np.uint8)[None].repeat(72, 0)


@pytest.mark.parametrize(
    ("image", "mask", "folders"),
    [
        ("images/Normal-{}.png", "masks/Normal-{}.png", ""),
        ("images/Normal-{}.png", "masks/Normal-{}.png", "images: image, masks: seg"),
        ("images/sketch_{}.png", "masks/sketch_{}_mask.png", ""),
        ("NORMAL/normal_{}.png", "NORMAL/normal_{}_mask.png", "NORMAL: image"),
        ("normal/normal ({}).png", "normal/normal ({})_mask.png", "normal: image"),
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

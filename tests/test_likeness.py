"""Near-duplicate pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.ingestion.scenery import sight
from usd.data.likeness import near_duplicates, perceptual_hash, thumbnail
from usd.data.record import field_path, read_manifest
from usd.images import read_png


def pairs(pictures: list[np.ndarray]) -> set[tuple[int, int]]:
    return near_duplicates(np.array(list(map(perceptual_hash, pictures)), np.uint64), list(map(thumbnail, pictures)))


def jpeg(picture: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    "copy", [jpeg, lambda a: cv2.resize(a, (48, 36)), lambda a: np.clip(a * 1.2 + 10, 0, 255).astype(np.uint8)]
)
def test_a_copy_that_was_compressed_scaled_or_brightened_is_found(copy) -> None:
    pictures = [sight(seed) for seed in range(8)]
    assert pairs([*pictures, copy(pictures[3])]) == {(3, 8)}


def test_scenes_are_not_near_duplicates_and_colours_tell_apart(tiny: Path) -> None:
    scenes = [read_png(field_path(tiny / "scenes", key, "image")) for key in read_manifest(tiny / "scenes")["key"]]
    assert pairs(scenes) == set()
    assert pairs([scenes[0], np.ascontiguousarray(scenes[0][..., ::-1])]) == set()  # blue where it was red


def test_pictures_of_one_colour_are_near_duplicates() -> None:
    grey = np.full((32, 32, 3), 90, np.uint8)
    assert pairs([grey, grey, sight(1)]) == {(0, 1)}

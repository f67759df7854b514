"""Near-duplicate pictures."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from tests.ingestion.scenery import sight
from usd.data.likeness import NEAR, near_duplicates, near_pairs, perceptual_hash, thumbnail
from usd.data.record import field_path, read_manifest
from usd.images import read_png
from usd.ingestion.splits import families


def pairs(pictures: list[np.ndarray]) -> set[tuple[int, int]]:
    found = near_duplicates(
        np.array(list(map(perceptual_hash, pictures)), np.uint64),
        np.stack([np.frombuffer(thumbnail(picture), np.uint8) for picture in pictures]),
        np.arange(len(pictures)),
        len(pictures),
    )
    return {(min(one, other), max(one, other)) for one, others in found.items() for other in others}


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


def films(count: int, families: int, flips: int) -> np.ndarray:
    """Hashes (count,) uint64 of frames: those of a film differ from one in at most `flips` bits."""
    chosen = np.random.default_rng(0)
    found = chosen.integers(0, 2**64, families, np.uint64)[np.arange(count) % families]
    for _ in range(flips):
        found ^= np.uint64(1) << chosen.integers(0, 64, count, np.uint64)
    return found


@pytest.mark.parametrize("flips", [3, 5, 8])
def test_families_are_those_of_all_near_pairs(flips: int) -> None:
    hashes = films(400, 10, flips)
    near = np.bitwise_count(hashes[:, None] ^ hashes) <= NEAR
    count, expected = connected_components(near)
    looks = [(look, look) for look in hashes.tolist()]
    found = families(looks, [str(number) for number in range(len(hashes))])
    assert count == len(set(found.tolist())) == len(set(zip(found.tolist(), expected.tolist(), strict=True)))


def test_frames_of_films_are_not_all_paired() -> None:
    hashes = films(4000, 4, 2)
    assert sum(len(left) for left, _ in near_pairs(hashes)) < 7 * len(hashes)
    thumbnails = np.arange(192, dtype=np.uint8)[None].repeat(len(hashes), 0)
    found = near_duplicates(hashes, thumbnails, np.arange(len(hashes)) // 4 % 3, 5)
    assert set(found) == set(range(len(hashes)))
    assert {len(others) for others in found.values()} == {5}
    assert all(other % 4 == one % 4 and other // 4 % 3 != one // 4 % 3 for one, some in found.items() for other in some)

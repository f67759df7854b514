"""Rendering, maps, transforms and annotators."""

import hashlib
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch

from usd.annotators.bundled import PerceptionNet, depth_annotator, segmentation_annotator, soft_edges
from usd.data.classes import CLASSES, PALETTE, nearest_class
from usd.data.record import field_path, read_manifest
from usd.data.transforms import augment, mirrored_caption
from usd.errors import UsdError
from usd.files import atomic_directory
from usd.images import decode_png, encode_png, read_png
from usd.synthesis.scenes import SceneRenderer
from usd.tasks import MAPS, Map


@pytest.fixture(scope="module")
def renderer():
    made = SceneRenderer(64)
    yield made
    made.close()


def test_a_scene_depends_on_its_seed_alone(renderer) -> None:
    first = renderer.render(7, (2, 5))
    renderer.render(8, (2, 5))
    again = renderer.render(7, (2, 5))
    for field in ("image", "depth_mm", "class_id", "normal"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
    assert first.caption == again.caption


def test_a_split_keeps_its_scenes_when_another_grows(inside_tiny: Path) -> None:
    first = read_manifest(Path("scenes")).groupby("split")["seed"].min()
    assert first.to_dict() == {"train": 1_000_000_000, "val": 1_100_000_000, "test": 2_200_000_000}


def test_a_scene_does_not_depend_on_how_many_were_drawn_before(renderer) -> None:
    sensitive = 1_000_000_548  # one value of one pixel took turns
    images = [renderer.render(sensitive, (2, 5)).image for _ in range(3)]
    assert all(np.array_equal(image, images[0]) for image in images)


def test_worker_processes_draw_the_same_bytes(tiny: Path, renderer) -> None:
    row = read_manifest(tiny / "scenes").iloc[5]
    scene = renderer.render(int(row.seed), (2, 5))
    assert encode_png(scene.image) == field_path(tiny / "scenes", row.key, "image").read_bytes()


def test_there_are_enough_kinds_and_seeds_are_disjoint(tiny: Path) -> None:
    assert len(CLASSES) - 2 >= 15
    assert read_manifest(tiny / "scenes").seed.is_unique


def test_maps_have_the_declared_range(tiny: Path) -> None:
    maps = {name: read_png(field_path(tiny / "annotated", "test-00002", name)) for name in MAPS}
    assert {array.shape for array in maps.values()} == {(64, 64, 3)}
    assert set(np.unique(maps["canny"])) <= {0, 255}
    assert np.array_equal(PALETTE[nearest_class(maps["seg"])], maps["seg"])


def test_a_flip_mirrors_picture_and_directions_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a map of directions is called."""
    monkeypatch.setitem(MAPS, "flow", Map("flow", "flow map", trained=False, directions=True))
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for name in ("image", "depth", "normal", "flow")}
    flipped = {name: picture.copy() for name, picture in pictures.items()}
    assert augment(flipped, 1.0, (1,), "train-00000")
    for name, picture in pictures.items():
        mirrored = picture[:, ::-1].copy()
        if name in ("normal", "flow"):
            mirrored[..., 0] = 255 - mirrored[..., 0]
        assert np.array_equal(flipped[name], mirrored)


def test_augmentation_depends_on_seed_and_key_alone() -> None:
    def flipped(number: int) -> bool:
        return augment({"image": np.zeros((8, 8, 3), np.uint8)}, 0.5, (1, 2), f"train-{number:05d}")

    drawn = [flipped(number) for number in range(40)]
    assert drawn == [flipped(number) for number in reversed(range(40))][::-1]
    assert 5 < sum(drawn) < 35


def test_augmentation_is_that_of_albumentations() -> None:
    rng = np.random.default_rng(0)
    pictures = {name: rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for name in ("image", "depth", "seg")}
    whole = A.Compose([A.HorizontalFlip(p=0.3)], additional_targets={"depth": "image", "seg": "mask"}, strict=True)
    for key in (f"train-{number:05d}" for number in range(60)):
        digest = hashlib.blake2b(repr(((1, 2), key)).encode(), digest_size=4).digest()
        whole.set_random_seed(int.from_bytes(digest, "little"))
        expected, found = whole(**pictures), {name: picture.copy() for name, picture in pictures.items()}
        augment(found, 0.3, (1, 2), key)
        assert all(np.array_equal(found[name], expected[name]) for name in pictures)


def test_annotators_are_differentiable_and_stay_in_range() -> None:
    net = PerceptionNet([8, 16])
    for annotate in (soft_edges, depth_annotator(net), segmentation_annotator(net)):
        image = torch.rand(2, 3, 16, 16, requires_grad=True)
        found = annotate(image)
        assert found.shape == image.shape
        assert 0 <= float(found.detach().min()) <= float(found.detach().max()) <= 1
        found.square().sum().backward()
        assert float(image.grad.abs().sum()) > 0


def test_annotators_follow_the_images_to_their_device() -> None:
    net = PerceptionNet([8, 16])
    for annotate in (soft_edges, depth_annotator(net), segmentation_annotator(net)):
        assert annotate(torch.rand(1, 3, 16, 16, device="meta")).device.type == "meta"


def test_soft_edges_of_a_flat_image_are_zero_with_finite_gradient() -> None:
    image = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    edges = soft_edges(image)
    edges.sum().backward()
    assert float(edges.detach().max()) == 0
    assert torch.isfinite(image.grad).all()


def test_png_round_trip_and_truncation() -> None:
    for array in (np.arange(48, dtype=np.uint8).reshape(4, 4, 3), np.arange(16, dtype=np.uint16).reshape(4, 4) * 999):
        assert np.array_equal(decode_png(encode_png(array), "x"), array)
    with pytest.raises(UsdError, match=r"sample\.png: not a complete PNG"):
        decode_png(encode_png(array)[:-20], "sample.png")


def test_a_failed_directory_leaves_the_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/kept").write_text("1")
    with pytest.raises(UsdError, match="No space left"), atomic_directory(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "kept"]


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    {
        "a cat left of a dog": "a cat right of a dog",
        "Left: the LEFTMOST mug, right-hand side": "Right: the RIGHTMOST mug, left-hand side",
        "a bright leftover, upright": "a bright leftover, upright",
    }.items(),
)
def test_a_mirrored_caption_changes_its_sides(caption: str, mirrored: str) -> None:
    assert mirrored_caption(caption) == mirrored
    assert mirrored_caption(mirrored) == caption

"""Example pairs of which one says how it is turned upright: the same for files and in a call of the pipeline."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch
from torch import Tensor

from usd.errors import UsdError
from usd.generation.files import read_example
from usd.inference.images import as_batch, as_pairs

Reader = Callable[[Path, Path], tuple[Tensor, Tensor]]


def of_files(source: Path, target: Path) -> tuple[Tensor, Tensor]:
    return read_example(source, target, 64)


def of_pictures(source: Path, target: Path) -> tuple[Tensor, Tensor]:
    ((first, second),) = as_pairs((PIL.Image.open(source), PIL.Image.open(target)))
    return as_batch("image_pair", first, 64), as_batch("image_pair", second, 64)


def of_lists(source: Path, target: Path) -> tuple[Tensor, Tensor]:
    ((first, second),) = as_pairs(([PIL.Image.open(source)], [PIL.Image.open(target)]))
    return as_batch("image_pair", first, 64), as_batch("image_pair", second, 64)


readers = pytest.mark.parametrize("read", [of_files, of_pictures, of_lists])


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("photo", [0, 1])
@readers
def test_a_map_of_the_stored_pixels_turns_with_its_example(
    tmp_path: Path, orientation: int, photo: int, read: Reader
) -> None:
    """The rule of ingestion: by the shapes, or, where these fit both ways, the pair is refused."""
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    stored = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    PIL.Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    PIL.Image.fromarray(stored).save(tmp_path / "map.png")
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(tmp_path / "photo.png"))
    upright.save(tmp_path / "upright.png", exif=PIL.Image.Exif())
    names = [("photo.png", "map.png"), ("map.png", "photo.png")][photo]
    if orientation < 5:
        with pytest.raises(UsdError, match=r": has an EXIF orientation, .* has none .*save both upright"):
            read(tmp_path / names[0], tmp_path / names[1])
    else:
        first, second = read(tmp_path / names[0], tmp_path / names[1])
        assert torch.equal(first, second)
        first, second = read(tmp_path / "photo.png", tmp_path / "upright.png")
        assert torch.equal(first, second)


@readers
def test_a_pair_of_two_shapes_is_refused(tmp_path: Path, read: Reader) -> None:
    PIL.Image.new("RGB", (160, 120), "red").save(tmp_path / "photo.png")
    PIL.Image.new("RGB", (100, 120), "blue").save(tmp_path / "map.png")
    with pytest.raises(UsdError, match=r"not of one shape, 1\.33 and 0\.83"):
        read(tmp_path / "photo.png", tmp_path / "map.png")


def test_what_cannot_be_decoded_is_named() -> None:
    data = BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(data, "JPEG")
    with pytest.raises(UsdError, match=r"^query: damaged: image file is truncated"):
        as_batch("query", PIL.Image.open(BytesIO(data.getvalue()[:1500])), 64)


def test_pictures_and_numbers_of_rare_kinds_are_taken() -> None:
    grey = PIL.Image.linear_gradient("L").convert("LA")
    assert torch.equal(as_batch("query", grey.convert("La"), 64), as_batch("query", grey, 64))
    values = np.random.default_rng(0).random((64, 64, 3), np.float32)
    assert torch.equal(as_batch("query", values.astype(">f4"), 64), as_batch("query", values, 64))

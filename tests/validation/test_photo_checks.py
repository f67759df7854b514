"""What stage `validate` finds in your own pictures and maps, after `usd ingest` and stage `annotate`."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT
from tests.ingestion.scenery import save
from usd import config
from usd.config.profiles import apply
from usd.data.record import SPLITS, field_path, read_manifest
from usd.images import read_png
from usd.ingestion.ingest import Options, ingest
from usd.stages import annotate
from usd.validation.dataset import warnings
from usd.validation.expectations import Report, validate
from usd.validation.inspection import inspect_samples
from usd.validation.summary import complaint

pytestmark = pytest.mark.slow

COUNT = 8  # pictures in each split
Pictures = dict[str, np.ndarray]  # image, depth and seg of one place


@pytest.fixture(scope="module")
def sights(tiny: Path) -> list[Pictures]:
    """Scenes as somebody's pictures, those of a split together, each with two maps."""
    files = {"image": "scenes", "depth": "annotated", "seg": "annotated"}
    keys = list(read_manifest(tiny / "annotated")["key"])[-len(SPLITS) * COUNT :]
    return [{field: read_png(field_path(tiny / root, key, field)) for field, root in files.items()} for key in keys]


@dataclass(frozen=True)
class Found:
    """What validation says of a dataset; keys are the numbers of the pictures."""

    table: pd.DataFrame
    report: Report

    def failures(self, column: str) -> dict[int, str]:
        """What the expectations that fail in a column find there."""
        number = dict(zip(self.table["key"], self.table["number"], strict=True))
        failed = [outcome.failures for outcome in self.report.failed if outcome.column == column]
        return {number[key]: value for each in failed for key, value in each.items()}

    @property
    def columns(self) -> set[str]:
        """The columns in which expectations fail."""
        return {outcome.column for outcome in self.report.failed}


def examined(sights: list[Pictures], folder: Path) -> Found:
    """The pictures ingested, annotated and validated with the profile for photographs."""
    for number, pictures in enumerate(sights):
        for name, pixels in pictures.items():
            ending = "" if name == "image" else f".{name}"
            save(folder / "photos" / SPLITS[number // COUNT] / f"p{number:02}{ending}.png", pixels)
    ingest(folder / "photos", folder / "scenes", Options(size=64))
    shutil.copy(ROOT / "params.yaml", folder)
    apply(ROOT / "profiles/photos.yaml", folder / "params.yaml")
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("networks: models/networks", "networks: models/no_networks"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        annotate.main(Path("scenes"), Path("annotated"))
        params = config.load().validate
    table = inspect_samples(folder / "scenes", folder / "annotated")
    sources = read_manifest(folder / "scenes").set_index("key")["source"]
    table["number"] = [int(Path(sources[key]).stem[1:]) for key in table["key"]]
    return Found(table, validate(table, params))


def every(field: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[list[Pictures]], None]:
    """A change of a field in the pictures of the first split."""

    def spoil(sights: list[Pictures]) -> None:
        for pictures in sights[:COUNT]:
            pictures[field] = np.ascontiguousarray(change(pictures[field]))

    return spoil


def shuffle(sights: list[Pictures]) -> None:
    maps = [pictures["depth"] for pictures in sights]
    for number, pictures in enumerate(sights):
        pictures["depth"] = maps[(number + 1) % len(maps)]


def speckle(picture: np.ndarray) -> np.ndarray:
    """All black but for one pixel, which ingestion lets pass."""
    found = np.zeros_like(picture)
    found[5, 5] = 255
    return found


def smooth(sights: list[Pictures]) -> None:
    sights[3]["seg"] = sights[3]["seg"] ^ 1


def retake(sights: list[Pictures]) -> None:
    """A training picture, brightened, in the last split."""
    sights[-1] = {**sights[0], "image": np.clip(sights[0]["image"] * 1.1 + 5, 0, 255).astype(np.uint8)}


def face_about(sights: list[Pictures]) -> None:
    """A training picture with its maps, mirrored, in the last split."""
    sights[-3] = {name: np.ascontiguousarray(pixels[:, ::-1]) for name, pixels in sights[2].items()}


def copy(sights: list[Pictures]) -> None:
    """A training picture with a line at its border that ingestion cuts off, so that the file is another."""
    image = cv2.copyMakeBorder(sights[1]["image"], 0, 0, 8, 8, cv2.BORDER_CONSTANT, value=(9, 9, 9))
    maps = {n: cv2.copyMakeBorder(sights[1][n], 0, 0, 8, 8, cv2.BORDER_REPLICATE) for n in ("depth", "seg")}
    sights[-2] = {"image": image, **maps}


TOTAL = len(SPLITS) * COUNT
FIRST, ALL = set(range(COUNT)), set(range(TOTAL))
FAULTS: dict[str, tuple[Callable[[list[Pictures]], None], str, set[int], str, str]] = {
    # fault → how it comes about, the column in which it shows, the pictures at fault, what is said of them, the remedy
    "shuffled": (shuffle, "misfit_depth", ALL, "of other pictures better", "give those pictures their own maps"),
    "mirrored": (every("seg", lambda a: a[:, ::-1]), "misfit_seg", FIRST, "mirrored", "turned as they are"),
    "turned": (every("seg", np.rot90), "misfit_seg", FIRST, "turned by 90° to the left", "validate.max_misfits"),
    "shifted": (
        every("depth", lambda a: np.roll(a, 12, 1)),
        "misfit_depth",
        FIRST,
        "12 pixels to the right",
        "or raise",
    ),
    "black": (every("depth", speckle), "flat_depth", FIRST, "all #000000", "validate.max_flat"),
    "one class": (
        every("seg", lambda a: np.full_like(a, (200, 30, 40))),
        "flat_seg",
        FIRST,
        "all #c81e28",
        "leave out those maps",
    ),
    "smoothed": (smooth, "stray_colours", {3}, "next to #", "save class maps as PNG"),
    "near-duplicate": (retake, "near_leaks", {0, 2, TOTAL - 3, TOTAL - 1}, "-", "splits.csv"),
    "mirrored copy": (face_about, "near_leaks", {0, 2, TOTAL - 3, TOTAL - 1}, " mirrored", "splits.csv"),
    "duplicate": (copy, "leaks", {1, TOTAL - 2}, "-", "splits.csv"),
}


TOGETHER = (  # faults that do not hide one another, in one dataset
    ("mirrored", "black"),
    ("turned", "shifted"),
    ("shuffled", "one class"),
    ("smoothed", "near-duplicate", "mirrored copy", "duplicate"),
)


@pytest.fixture(scope="module")
def found_with(sights: list[Pictures], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Found]:
    """By fault, what validation says of the dataset that has it."""

    @cache
    def found(faults: tuple[str, ...]) -> Found:
        spoilt = [dict(pictures) for pictures in sights]
        for fault in faults:
            FAULTS[fault][0](spoilt)
        return examined(spoilt, tmp_path_factory.mktemp("spoilt"))

    return lambda fault: found(next(faults for faults in TOGETHER if fault in faults))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_its_pictures_and_remedy(fault: str, found_with: Callable[[str], Found]) -> None:
    _, column, at_fault, words, remedy = FAULTS[fault]
    found = found_with(fault)
    assert column in found.columns
    named = found.failures(column)
    assert named
    assert set(named) <= at_fault
    assert any(words in value for value in named.values()), named
    assert remedy in complaint(Report([outcome for outcome in found.report.failed if outcome.column == column]))


def test_sound_pictures_pass_and_what_may_be_meant_is_a_warning(sights: list[Pictures], tmp_path: Path) -> None:
    found = examined(sights, tmp_path)
    assert found.report.success, found.columns
    table = found.table.assign(classes=None, caption="a picture")
    red, blue = (np.array([colour], np.int32).tobytes() for colour in (0xFF0000, 0x0000FF))
    table["classes"] = [red if split == "train" else blue for split in table["split"]]
    of_val, of_test, captions = warnings(table)
    assert of_val.startswith(f"val has class colours that no map of train has: #0000ff (in {COUNT} samples: val-")
    assert of_test.startswith("test has class colours")
    assert captions.startswith(f"{len(table)} of {len(table)} captions are 'a picture'")

"""Demonstration: plant damage in a copy of the data and see which expectation names it.

    python -m usd.data.damage SCENES ANNOTATED

Except where a file is lost, cut short or altered, the manifests vouch for the damage, as if the source had delivered
it: the sha256 alone would catch nothing.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from usd import config
from usd.data.expectations import Report, validate
from usd.data.inspection import ALIGNED, FILES, inspect_samples
from usd.data.record import SPLITS, encode_png, field_path, read_manifest, read_png, sha256, write_manifest
from usd.data.scenes import CLASSES
from usd.errors import UsdError

FEWEST = 8  # samples in the copy: most kinds of damage hit one of their own


@dataclass(frozen=True)
class Copy:
    """A folder dataset that may be damaged."""

    scenes: Path
    annotated: Path

    def path(self, key: str, name: str) -> Path:
        """The file `name`, "scenes/image" for one, of a sample."""
        folder, field = name.split("/")
        return field_path(self.scenes if folder == "scenes" else self.annotated, key, field)

    def read(self, key: str, name: str) -> np.ndarray:
        """A picture."""
        return read_png(self.path(key, name))

    def write(self, key: str, name: str, picture: np.ndarray) -> None:
        """Replace a picture, and its sha256 in every manifest that has it."""
        data = encode_png(picture)
        self.path(key, name).write_bytes(data)
        column = f"{name.split('/')[1]}_sha256"
        for root in (self.scenes, self.annotated) if name == "scenes/image" else (self.path(key, name).parents[1],):
            self.declare(root, key, column, sha256(data))

    def declare(self, root: Path, key: str, column: str, value: str) -> None:
        """Change a manifest's entry."""
        frame = read_manifest(root)
        frame.loc[frame["key"] == key, column] = value
        write_manifest(frame.to_dict("records"), root)


@dataclass(frozen=True)
class Damage:
    """A kind of damage, and the columns of the table in which it must show."""

    name: str
    plant: Callable[[Copy, list[str]], set[str]]  # (copy, its keys) → the damaged keys
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Catch:
    """What came of one kind of damage."""

    planted: set[str]  # keys
    named: set[str]  # keys
    expectations: list[str]

    @property
    def caught(self) -> bool:
        """Whether damaged samples are named, and no others."""
        return bool(self.named) and self.named <= self.planted


def lose_map(copy: Copy, keys: list[str]) -> set[str]:
    """A map that is not there."""
    copy.path(keys[0], "annotated/hed").unlink()
    return {keys[0]}


def cut_short(copy: Copy, keys: list[str]) -> set[str]:
    """A file of which the second half is lost."""
    path = copy.path(keys[1], "annotated/depth")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return {keys[1]}


def alter(copy: Copy, keys: list[str]) -> set[str]:
    """A picture with one changed pixel, behind the manifest's back."""
    picture = copy.read(keys[2], "annotated/depth")
    picture[0, 0] ^= 1
    copy.path(keys[2], "annotated/depth").write_bytes(encode_png(picture))
    return {keys[2]}


def crop(copy: Copy, keys: list[str]) -> set[str]:
    """A map of another size than its image."""
    copy.write(keys[3], "annotated/normal", copy.read(keys[3], "annotated/normal")[:-1])
    return {keys[3]}


def break_class(copy: Copy, keys: list[str]) -> set[str]:
    """A class id that no class has."""
    picture = copy.read(keys[4], "scenes/class_id")
    picture[5, 5] = len(CLASSES)
    copy.write(keys[4], "scenes/class_id", picture)
    return {keys[4]}


def recolour(copy: Copy, keys: list[str]) -> set[str]:
    """A segmentation map saved with loss: colours near the palette's."""
    picture = copy.read(keys[5], "annotated/seg")
    copy.write(keys[5], "annotated/seg", np.where(picture < 255, picture + 1, picture).astype(np.uint8))
    return {keys[5]}


def leak(copy: Copy, keys: list[str]) -> set[str]:
    """A training scene, maps and all, in the test split too."""
    train, test = (next(key for key in keys if key.startswith(split)) for split in ("train", "test"))
    for name in FILES:
        copy.write(test, name, copy.read(train, name))
    return {train, test}


def swap(copy: Copy, keys: list[str]) -> set[str]:
    """The maps of one sample at the image of another."""
    first, second = keys[-2:]
    for name in FILES:
        if name != "scenes/image":
            here, there = copy.read(first, name), copy.read(second, name)
            copy.write(first, name, there)
            copy.write(second, name, here)
    return {first, second}


def empty_caption(copy: Copy, keys: list[str]) -> set[str]:
    """A caption of blanks."""
    for root in (copy.scenes, copy.annotated):
        copy.declare(root, keys[6], "caption", "  ")
    return {keys[6]}


def zero_depth(copy: Copy, keys: list[str]) -> set[str]:
    """A depth image with a hole, as sensors have."""
    picture = copy.read(keys[7], "scenes/depth_mm")
    picture[:4, :4] = 0
    copy.write(keys[7], "scenes/depth_mm", picture)
    return {keys[7]}


DAMAGES = (
    Damage("missing map", lose_map, ("missing",)),
    Damage("truncated PNG", cut_short, ("unreadable",)),
    Damage("altered file", alter, ("altered",)),
    Damage("wrong size", crop, ("wrong_size",)),
    Damage("class id out of range", break_class, ("class_max",)),
    Damage("colours off the palette", recolour, ("off_palette",)),
    Damage("training image in test", leak, ("leaks",)),
    Damage("maps swapped between samples", swap, tuple(f"alignment_{name}" for name in ALIGNED)),
    Damage("empty caption", empty_caption, ("caption_length",)),
    Damage("zero depth", zero_depth, ("depth_min_mm",)),
)


def copy_samples(scenes: Path, annotated: Path, into: Path, samples: int) -> Copy:
    """Copy the first `samples` samples a split."""
    for root, target in ((scenes, into / "scenes"), (annotated, into / "annotated")):
        frame = read_manifest(root).groupby("split").head(samples)
        for split in SPLITS:
            (target / split).mkdir(parents=True)
        for key in frame["key"]:
            for path in (root / key.split("-")[0]).glob(f"{key}.*.png"):
                shutil.copyfile(path, target / key.split("-")[0] / path.name)
        write_manifest(frame.to_dict("records"), target)
    return Copy(into / "scenes", into / "annotated")


def check(copy: Copy, params: config.Validate) -> Report:
    """The suite on a copy."""
    return validate(inspect_samples(copy.scenes, copy.annotated), replace(params, min_samples=1))


def catch(damage: Damage, scenes: Path, annotated: Path, samples: int, params: config.Validate) -> Catch:
    """Plant damage in a fresh copy and see what the suite says."""
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_samples(scenes, annotated, Path(folder), samples)
        keys = [str(key) for key in read_manifest(copy.scenes)["key"]]
        if len(keys) < FEWEST:
            raise UsdError(f"{scenes}: {len(keys)} samples; the demonstration needs {FEWEST}")
        planted = damage.plant(copy, keys)
        failed = check(copy, params).failed
    mine = [outcome for outcome in failed if outcome.column in damage.columns and outcome.failures]
    return Catch(planted, {key for outcome in mine for key in outcome.failures}, [outcome.name for outcome in mine])


def main(
    scenes: Path,
    annotated: Path,
    samples: Annotated[int, typer.Option(help="Samples of each split in the copy.", min=4)] = 12,
) -> None:
    """Plant each kind of damage in a copy of SCENES and ANNOTATED; exit code 1 if any goes uncaught."""
    params = config.load().validate
    with tempfile.TemporaryDirectory() as folder:
        sound = check(copy_samples(scenes, annotated, Path(folder), samples), params)
    table = Table("damage", "caught by the expectation that", "keys named")
    table.add_row("none", "—" if sound.success else "[red]FALSE ALARM[/red]", "—")
    uncaught = not sound.success
    for damage in DAMAGES:
        found = catch(damage, scenes, annotated, samples, params)
        uncaught |= not found.caught
        keys = f"{len(found.named)} of {len(found.planted)}: {', '.join(sorted(found.named))}"
        table.add_row(damage.name, "\n".join(found.expectations) if found.caught else "[red]UNCAUGHT[/red]", keys)
    Console().print(table)
    sys.exit(int(uncaught))


if __name__ == "__main__":
    try:
        typer.run(main)
    except UsdError as error:
        sys.exit(f"error: {error}")

"""Demonstration: plant damage in a copy of the data and see which expectation names it.

python -m benchmarks.damage data/scenes data/annotated
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from usd import config
from usd.data.classes import CLASSES
from usd.data.record import SPLITS, field_path, read_manifest, write_manifest
from usd.files import sha256
from usd.images import encode_png, read_png
from usd.stages import run
from usd.validation.expectations import Report, validate
from usd.validation.inspection import FILES, inspect_samples
from usd.validation.measures import ALIGNED


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
            declare(root, key, column, sha256(data))


def declare(root: Path, key: str, column: str, value: str) -> None:
    """Change an entry of a manifest."""
    frame = read_manifest(root)
    frame.loc[frame["key"] == key, column] = value
    write_manifest(frame.to_dict("records"), root)


Plant = Callable[[Copy, list[str]], set[str]]  # (copy, its keys) → the damaged keys


@dataclass(frozen=True)
class Damage:
    """A kind of damage, and the columns of the table in which it must show."""

    name: str
    plant: Plant
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


def edit(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Plant:
    """Damage to the picture `name` of the first sample, as its source delivered it: the manifest vouches for it."""

    def plant(copy: Copy, keys: list[str]) -> set[str]:
        copy.write(keys[0], name, change(copy.read(keys[0], name)))
        return {keys[0]}

    return plant


def spoil(name: str, change: Callable[[Path], object]) -> Plant:
    """Damage to the file `name` of the first sample, of which the manifest knows nothing."""

    def plant(copy: Copy, keys: list[str]) -> set[str]:
        change(copy.path(keys[0], name))
        return {keys[0]}

    return plant


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
            mine, other = copy.read(first, name), copy.read(second, name)
            copy.write(first, name, other)
            copy.write(second, name, mine)
    return {first, second}


def empty_caption(copy: Copy, keys: list[str]) -> set[str]:
    """A caption of spaces."""
    for root in (copy.scenes, copy.annotated):
        declare(root, keys[0], "caption", "  ")
    return {keys[0]}


def misfile(copy: Copy, keys: list[str]) -> set[str]:
    """Samples of val that both manifests list under train."""
    moved = {key for key in keys if key.startswith("val")}
    for root, key in product((copy.scenes, copy.annotated), moved):
        declare(root, key, "split", "train")
    return moved


DAMAGES = (
    Damage("missing map", spoil("annotated/hed", Path.unlink), ("missing",)),
    Damage("truncated PNG", spoil("annotated/hed", lambda p: p.write_bytes(p.read_bytes()[:-20])), ("unreadable",)),
    Damage("altered file", spoil("annotated/hed", lambda p: p.write_bytes(encode_png(read_png(p) ^ 1))), ("altered",)),
    Damage("wrong size", edit("annotated/normal", lambda picture: picture[:-1]), ("wrong_size",)),
    Damage("class id out of range", edit("scenes/class_id", lambda ids: ids + np.uint8(len(CLASSES))), ("class_max",)),
    Damage("colours off the palette", edit("annotated/seg", lambda colours: colours ^ 1), ("off_palette",)),
    Damage("zero depth", edit("scenes/depth_mm", np.triu), ("depth_min_mm",)),
    Damage("training image in test", leak, ("leaks",)),
    Damage("maps swapped between samples", swap, tuple(f"alignment_{name}" for name in ALIGNED)),
    Damage("empty caption", empty_caption, ("caption_length",)),
    Damage("another split declared", misfile, ("split",)),
)


def copy_samples(source: Copy, into: Path, samples: int) -> Copy:
    """Copy the first `samples` samples a split."""
    copy = Copy(into / "scenes", into / "annotated")
    for root, target in ((source.scenes, copy.scenes), (source.annotated, copy.annotated)):
        for split in SPLITS:
            (target / split).mkdir(parents=True)
        write_manifest(read_manifest(root).groupby("split").head(samples).to_dict("records"), target)
    for key in read_manifest(copy.scenes)["key"]:
        for name in FILES:
            shutil.copyfile(source.path(key, name), copy.path(key, name))
    return copy


def examine(plant: Plant, source: Copy, samples: int) -> tuple[set[str], pd.DataFrame]:
    """Plant damage in a fresh copy; the damaged keys, and the copy's per-sample table."""
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_samples(source, Path(folder), samples)
        planted = plant(copy, [str(key) for key in read_manifest(copy.scenes)["key"]])
        return planted, inspect_samples(copy.scenes, copy.annotated)


def judge(damage: Damage, planted: set[str], report: Report) -> Catch:
    """What the expectations that are meant for a kind of damage found."""
    mine = [outcome for outcome in report.failed if outcome.column in damage.columns and outcome.failures]
    return Catch(planted, {key for outcome in mine for key in outcome.failures}, [outcome.name for outcome in mine])


def main(
    scenes: Path,
    annotated: Path,
    samples: Annotated[int, typer.Option(help="Samples of each split in the copy.", min=2)] = 12,
) -> None:
    """Plant each kind of damage in a copy of SCENES and ANNOTATED; exit code 1 if any goes uncaught."""
    params, source = replace(config.load().validate, min_samples=1), Copy(scenes, annotated)
    table = Table("damage", "caught by the expectation that", "keys named")
    alarms = validate(examine(lambda copy, keys: set(), source, samples)[1], params).failed
    table.add_row("none", "[red]FALSE ALARM[/red]" if alarms else "—", "—")
    uncaught = bool(alarms)
    for damage in DAMAGES:
        planted, damaged = examine(damage.plant, source, samples)
        found = judge(damage, planted, validate(damaged, params))
        uncaught |= not found.caught
        keys = f"{len(found.named)} of {len(found.planted)}: {', '.join(sorted(found.named))}"
        table.add_row(damage.name, "\n".join(found.expectations) if found.caught else "[red]UNCAUGHT[/red]", keys)
    Console().print(table)
    sys.exit(int(uncaught))


if __name__ == "__main__":
    run(main)

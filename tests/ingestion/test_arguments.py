"""What is asked for beside the pictures, and where the dataset goes: done or refused by name, never passed over."""

import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from tests.conftest import ROOT
from tests.ingestion.scenery import notes, save, sight, take
from usd import cli
from usd.config.profiles import change
from usd.config.values import Layout
from usd.data.record import MANIFEST, read_manifest
from usd.errors import UsdError
from usd.ingestion.ingest import Options, ingest
from usd.ingestion.sources import LAYOUTS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(6):
        save(tmp_path / f"source/{number}_A.png", sight(number))
    return tmp_path / "source"


@pytest.mark.parametrize("name", ["maps.yaml", "splits.csv"])
@pytest.mark.parametrize("broken", ["link", "folder"])
def test_a_declaration_that_cannot_be_read_ends_it(name: str, broken: str, source: Path, tmp_path: Path) -> None:
    if broken == "link":
        (source / name).symlink_to("nowhere")
    else:
        (source / name).mkdir()
    with pytest.raises(UsdError, match=rf"source/{name}: not readable"):
        ingest(source, tmp_path / "out", Options(size=32))


@pytest.mark.parametrize("name", ["maps.yml", "Maps.yaml", "sub/maps.yaml", "Splits.CSV"])
def test_a_declaration_of_another_name_is_refused_with_the_right_one(name: str, source: Path, tmp_path: Path) -> None:
    (source / name).parent.mkdir(exist_ok=True)
    (source / name).write_text("orientation: stored")
    own = "splits.csv" if "csv" in name.lower() else "maps.yaml"
    assert take(tmp_path)[name].detail.startswith(f"not read by itself: call it {own}, at the top of the folder")


@pytest.mark.parametrize("used", ["other.csv", "source/sub/splits.csv", "source/splits.csv"])
def test_a_declaration_that_is_not_read_is_not_accepted(used: str, source: Path, tmp_path: Path) -> None:
    (source / "sub").mkdir()
    for name in {"source/splits.csv", used}:
        (tmp_path / name).write_text("file_name,split\n0_A.png,val\n" if name == used else "not read")
    found = ingest(source, tmp_path / "out", Options(size=32, splits=tmp_path / used))
    said = {each.file: (each.status, each.detail) for each in found if each.file.endswith("splits.csv")}
    left = {"splits.csv": ("accepted", "left out: --splits names another file")}
    assert said == left | ({used.removeprefix("source/"): ("accepted", "")} if used != "other.csv" else {})


def test_a_split_of_a_refused_picture_is_noted(source: Path, tmp_path: Path) -> None:
    shutil.copy(source / "0_A.png", source / "copy.png")
    (source / "half.png").write_bytes((source / "0_A.png").read_bytes()[:400])
    splits = "file_name,split\ncopy.png,val\nhalf.png,val\n1_A.png,test\n"
    take(tmp_path, splits=splits)
    assert "splits.csv: names 1 refused picture, such as half.png; the others keep" in notes(tmp_path)
    assert read_manifest(tmp_path / "out").set_index("source").loc["1_A.png", "split"] == "test"


@pytest.mark.parametrize(("better", "other"), [("0_A", "copy"), ("copy", "0_A")])
@pytest.mark.parametrize("more", ["hed.png", "txt"])
def test_of_equal_pictures_that_with_the_most_files_is_taken(
    better: str, other: str, more: str, source: Path, tmp_path: Path
) -> None:
    shutil.copy(source / "0_A.png", source / "copy.png")
    for name in (f"{better}.depth", f"{other}.depth", f"{better}.hed"):
        save(source / f"{name}.png", sight(9)[..., 0] // 3)
    if more == "txt":
        (source / f"{better}.hed.png").unlink()
        (source / f"{better}.txt").write_text("a caption")
    found = take(tmp_path)
    why = f"the same picture as {better}.png, byte for byte"
    assert found[f"{other}.png"].detail == why
    assert found[f"{other}.depth.png"].detail == f"its image is {why}"
    assert len(read_manifest(tmp_path / "out")) == 6


@pytest.mark.parametrize(
    ("files", "splits", "split", "torn"),
    [
        ("0.png copy.png", {"0.png": "test"}, "test", ""),
        ("0.png copy.png", {"0.png": "test", "copy.png": "test"}, "test", ""),
        ("0.png copy.png", {"0.png": "val", "copy.png": "test"}, "test", "copy.png (test) and 0.png (val)"),
        ("test/0.png copy.png val/1.png", {}, "test", ""),
        ("train/0.png test/copy.png", {}, "test", "test/copy.png (test) and train/0.png (train)"),
        ("train/0.png val/copy.png", {"train/0.png": "test"}, "test", ""),
    ],
)
def test_of_equal_pictures_the_one_that_is_taken_has_the_split_of_any(
    files: str, splits: dict[str, str], split: str, torn: str, source: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(files.split()):
        save(source / name, sight(90 if number < 2 else number))
    best = files.split()[1]
    save(source / best.replace(".png", ".depth.png"), sight(9)[..., 0] // 3)
    take(tmp_path, splits="\n".join(["file_name,split", *map(",".join, splits.items())]) if splits else "")
    assert read_manifest(tmp_path / "out").set_index("source").loc[best, "split"] == split
    assert "refused picture" not in notes(tmp_path)
    assert ("in several splits, byte for byte the same" in notes(tmp_path), torn in notes(tmp_path)) == (
        bool(torn),
        True,
    )


def test_a_folder_that_only_looks_like_a_dataset_is_kept(source: Path, tmp_path: Path) -> None:
    take(tmp_path)
    take(tmp_path)  # over a dataset
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / MANIFEST).write_text("precious")
    with pytest.raises(UsdError, match="mine: exists and is not a dataset"):
        ingest(source, tmp_path / "mine", Options(size=32))
    assert (tmp_path / "mine" / MANIFEST).read_text() == "precious"


@pytest.mark.parametrize("name", ["notes.txt", "train/mine.png", "mine/photo.png"])
def test_a_file_that_a_person_put_into_a_dataset_is_kept(name: str, source: Path, tmp_path: Path) -> None:
    take(tmp_path)
    (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "out" / name).write_text("precious")
    with pytest.raises(UsdError, match=rf"out/{Path(name).parts[0]}.*: not made by `usd ingest`, which replaces"):
        take(tmp_path)
    assert (tmp_path / "out" / name).read_text() == "precious"


def test_a_size_of_params_yaml_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "params.yaml").read_text()
    line = next(line for line in text.splitlines() if line.strip().startswith("image_size:"))
    (tmp_path / "params.yaml").write_text(text.replace(line, f"{line.split(':')[0]}: 8"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsdError, match=r"^params\.yaml: render\.image_size"):
        ingest(source, tmp_path / "out")


def test_seeds_json_that_cannot_be_read_ends_it(source: Path, tmp_path: Path) -> None:
    (source / "seeds.json").write_text("{")
    with pytest.raises(UsdError, match=r"source/seeds\.json: not in its form: .*; correct it, or remove it"):
        ingest(source, tmp_path / "out", Options("instruct-pix2pix", 32))


def test_every_layout_has_its_reader() -> None:
    assert set(get_args(Layout)) == LAYOUTS.keys()
    offered, _ = get_args(
        get_type_hints(cli.ingest)["layout"]
    )  # written there again, as the command must start at once
    assert get_args(offered) == get_args(Layout)


def test_layout_and_seed_are_those_of_params_yaml(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a try-out by hand, which says the size alone, has the samples and splits of the pipeline."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    change([{"ingest": {"layout": "instruct-pix2pix"}}], tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsdError, match="not <seed>_0"):
        ingest(source, tmp_path / "out", Options(size=32))
    splits = []
    for seed in (1, 4):
        change([{"ingest": {"layout": "folder", "seed": seed}}], tmp_path / "params.yaml")
        ingest(source, tmp_path / "out", Options(size=32))
        splits.append(list(read_manifest(tmp_path / "out").sort_values("source")["split"]))
    assert splits[0] != splits[1]


@pytest.mark.parametrize("maps", ["condition: depth", "folders: {A: image, B: seg}"])
def test_what_a_layout_does_not_have_is_not_declared(maps: str, source: Path, tmp_path: Path) -> None:
    (source / "maps.yaml").write_text(maps)
    with pytest.raises(UsdError, match=rf"^--maps: {maps.split(':')[0]}: only layout folder has it; leave it out"):
        ingest(source, tmp_path / "out", Options("instruct-pix2pix", 32))


@pytest.mark.parametrize(
    ("maps", "coloured", "refused"),
    [
        ("12345", "0", ["1_B.png", "2_B.png", "3_B.png", "4_B.png", "5_B.png"]),
        ("123459", "", ["1_B.png", "2_B.png", "3_B.png", "4_B.png", "5_B.png", "9_B.png"]),
        ("123", "045", []),  # black and white by chance
        ("124589", "", []),
    ],
)
def test_one_picture_does_not_hide_that_the_others_look_like_maps(
    maps: str, coloured: str, refused: list[str], source: Path, tmp_path: Path
) -> None:
    for number in maps + coloured:
        pixels = sight(20 + int(number))
        save(source / f"{number}_B.png", pixels if number in coloured else pixels[..., 0])
    found = take(tmp_path)
    assert sorted(name for name, each in found.items() if each.status == "refused") == refused
    assert not refused or "of *_B is grey or of few colours, and named like *_A" in found["1_B.png"].detail


@pytest.mark.parametrize("shapes", ["{}_{}.png", "{1}/{0}.png"])
def test_old_photographs_beside_new_ones_are_not_maps(shapes: str, tmp_path: Path) -> None:
    """Five of six are grey in each series but one, whose pictures are in colour."""
    for place, series in enumerate("123" if "_" in shapes else "abc"):
        for number in range(6):
            pixels = sight(10 * place + number)
            grey = place and number != place
            save(tmp_path / "source" / shapes.format(f"p{number}", series), pixels[..., 0] if grey else pixels)
    take(tmp_path, "" if "_" in shapes else "folders: {a: image, b: image, c: image}")
    assert len(read_manifest(tmp_path / "out")) == 18

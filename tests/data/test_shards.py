"""Shards are byte-identical, read back whole by key, and damage in them is named."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import webdataset as wds

from usd.data.index import INDEX, read_index
from usd.data.record import field_path, read_manifest, write_manifest
from usd.data.shards import Shards, Wanted
from usd.errors import UsdError
from usd.files import sha256
from usd.images import encode_png, read_png
from usd.stages import shard
from usd.tasks import FIELDS, MAPS

ARGUMENTS = (Path("scenes"), Path("annotated"), Path("validation"))


def test_every_sample_comes_back_once_and_whole(tiny: Path) -> None:
    shards = Shards.open(tiny / "shards")
    for name, split in shards.splits.items():
        rows = read_manifest(tiny / "annotated")
        rows = rows[rows["split"] == name]
        assert split.keys == list(rows["key"])
        assert list(split.captions()) == list(rows["caption"])
        wanted = [Wanted(number, FIELDS) for number in range(len(split))]
        for key, sample in zip(split.keys, split.decoded(wanted), strict=True):
            for field, picture in sample.items():
                root = tiny / ("scenes" if field == "image" else "annotated")
                assert (picture == read_png(field_path(root, key, field))).all()


def test_other_readers_of_webdataset_read_the_shards(tiny: Path) -> None:
    listed = json.loads((tiny / "shards/train.wids.json").read_text())
    assert listed["__kind__"] == "wids-shard-index-v1"
    urls = [str(tiny / "shards" / each["url"]) for each in listed["shardlist"]]
    samples = list(wds.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    split = Shards.open(tiny / "shards")["train"]
    assert [sample["__key__"] for sample in samples] == split.keys
    assert sum(each["nsamples"] for each in listed["shardlist"]) == len(samples)
    assert (samples[7]["depth.png"] == split.pictures([samples[7]["__key__"]], "depth")[0]).all()


def test_packing_again_gives_the_same_bytes(inside_tiny: Path, tmp_path: Path) -> None:
    shard.main(*ARGUMENTS, tmp_path / "again")
    for path in Path("shards").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path


def test_the_mean_maps_are_those_of_the_training_split(tiny: Path) -> None:
    shards = Shards.open(tiny / "shards")
    found = shards.mean_maps()
    for name in MAPS:
        pictures = shards["train"].pictures(shards["train"].keys, name)
        assert found[name] == pytest.approx(pictures.mean(0) / 255, abs=1e-6)


def copied(inside_tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the tiny project's folder datasets, as working directory."""
    for name in ("scenes", "annotated", "validation"):
        shutil.copytree(inside_tiny / name, folder / name)
    shutil.copy(inside_tiny / "params.yaml", folder)
    monkeypatch.chdir(folder)


def test_one_changed_sample_changes_one_shard(inside_tiny: Path, tmp_path: Path, monkeypatch) -> None:
    copied(inside_tiny, tmp_path, monkeypatch)
    path = field_path(Path("annotated"), "train-00003", "depth")
    path.write_bytes(encode_png(255 - read_png(path)))
    rows = read_manifest(Path("annotated"))
    rows.loc[rows.key == "train-00003", "depth_sha256"] = sha256(path.read_bytes())
    write_manifest(rows.to_dict("records"), Path("annotated"))
    shard.main(*ARGUMENTS, Path("shards"))
    before, after = read_index(inside_tiny / "shards"), read_index(Path("shards"))
    changed = [a.name for a, b in zip(before.shards, after.shards, strict=True) if a != b]
    assert changed == ["train-0000.tar"]
    assert before.digest != after.digest


def test_a_picture_that_differs_from_the_manifest_is_refused(inside_tiny: Path, tmp_path: Path, monkeypatch) -> None:
    copied(inside_tiny, tmp_path, monkeypatch)
    field_path(Path("annotated"), "val-00001", "hed").write_bytes(b"damaged")
    with pytest.raises(UsdError, match=r"val-00001\.hed\.png: differs from the manifest"):
        shard.main(*ARGUMENTS, Path("shards"))
    assert not Path("shards").exists()


@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
@pytest.mark.parametrize("name", ["val-0000.tar", "train.arrow"])
def test_a_damaged_file_is_named(tiny: Path, tmp_path: Path, name: str, damage: str) -> None:
    shutil.copytree(tiny / "shards", tmp_path / "shards")
    path = tmp_path / "shards" / name
    data = path.read_bytes()
    Shards.open(tmp_path / "shards")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:2000] if damage == "cut" else data[:-1] + b"?")
    with pytest.raises(
        UsdError, match=rf"{name}: (damaged .sha256 differs from the index.|not found).*dvc repro shard"
    ):
        Shards.open(tmp_path / "shards")


def test_files_are_hashed_again_only_if_they_changed(inside_tiny: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(inside_tiny / "shards", "shards")
    hashed = []
    original = hashlib.file_digest
    monkeypatch.setattr("hashlib.file_digest", lambda file, kind: (hashed.append(file.name), original(file, kind))[1])
    Shards.open("shards")
    everything = len(hashed)
    assert everything == len(read_index("shards").shards) + len(read_index("shards").files)
    Shards.open("shards")
    assert len(hashed) == everything
    data = Path("shards/val-0000.tar").read_bytes()
    Path("shards/val-0000.tar").unlink()
    Path("shards/val-0000.tar").write_bytes(data)
    Shards.open("shards")
    assert hashed[everything:] == ["shards/val-0000.tar"]


@pytest.mark.parametrize("damage", ["pixels", "end", "name"])
def test_damage_met_while_reading_names_shard_and_key(tiny: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(tiny / "shards", tmp_path / "shards")
    split = Shards.open(tmp_path / "shards")["val"]
    path = tmp_path / "shards/val-0000.tar"
    data = bytearray(path.read_bytes())
    start, length = split.rows.extent(3, "depth")
    key = split.keys[3]
    if damage == "pixels":
        data[start + 8 : start + length] = bytes(length - 8)
    elif damage == "name":
        data[start - 512 : start - 502] = b"other-0000"
    path.write_bytes(data[: start + 10] if damage == "end" else data)
    with pytest.raises(
        UsdError, match=rf"val-0000\.tar: {key}\.depth\.png (is cut|is not there|does not decode).*dvc repro shard"
    ):
        split.pictures([key], "depth")
    assert split.pictures(split.keys[:1], "image").shape == (1, 64, 64, 3)


def test_an_unknown_key_or_split_is_named(tiny: Path) -> None:
    shards = Shards.open(tiny / "shards")
    for key in ("val", "val-99999", ""):
        with pytest.raises(UsdError, match=f"split 'val' has no sample '{key}'"):
            shards["val"].pictures([key], "image")
    with pytest.raises(UsdError, match="no split 'dev'"):
        shards["dev"]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ('{"train": [{"shard": "train-0000.tar", "samples": 3}]}', "shards without offsets.*dvc repro shard"),
        ('{"format": 2, "files": [], "splits": {"val": []}}', "split 'val' is empty"),
        ('{"format": 2, "files": [], "splits": {}}', "no samples; render or ingest samples"),
        ("{", "no readable index"),
        ('{"format": 2, "files": []}', "no readable index .KeyError: 'splits'.*dvc repro shard"),
        ('{"format": 2, "splits": {"val": [SHARD]}}', "no readable index .KeyError: 'files'"),
        ('{"format": 2, "files": [], "splits": null}', "no readable index .AttributeError"),
        ('{"format": 2, "files": [], "splits": {"val": [{"name": "a.tar"}]}}', "no readable index .TypeError.*missing"),
        ('{"format": 2, "files": [], "splits": {"val": [SHARD, {"more": 1}]}}', "no readable index .TypeError"),
        ('{"format": 2, "files": [], "splits": {"val": [TEXT]}}', "no readable index .TypeError: samples is not int"),
    ],
)
def test_an_index_that_cannot_be_used_is_named(tmp_path: Path, index: str, message: str) -> None:
    sound = '{"name": "a.tar", "bytes": 1, "sha256": "", "samples": 1}'
    index = index.replace("SHARD", sound).replace("TEXT", sound.replace('"samples": 1', '"samples": "1"'))
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(UsdError, match=message):
        Shards.open(tmp_path)

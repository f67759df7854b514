"""Splits and keys by content; near-duplicates together; your own splits kept."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingestion.scenery import image, notes, save, sight, take
from usd.data.likeness import mirrored_hash, perceptual_hash
from usd.data.record import SPLITS, read_manifest
from usd.errors import UsdError
from usd.ingestion.splits import assign, families


def test_near_duplicates_stay_in_one_split_and_the_shares_hold() -> None:
    looks, groups = [], []
    for seed in range(120):
        data = BytesIO()
        image(seed).resize((48, 36)).save(data, "JPEG", quality=60)
        copy = np.asarray(PIL.Image.open(data).resize((64, 64)))[:, :: -1 if seed % 2 else 1]  # every other mirrored
        both = (cv2.resize(sight(seed), (64, 64)), np.ascontiguousarray(copy))
        looks += [(perceptual_hash(each), mirrored_hash(each)) for each in both]
        groups += [f"{seed}", f"{seed} again"]
    family = families(looks, groups)
    assert (family[::2] == family[1::2]).all()
    assert len(set(family.tolist())) > 115
    assert len(set(families([(look, look) for look in range(0, 2**63, 2**57)], ["one"] * 64).tolist())) == 1
    contents = [f"{number}" for number in range(20000)]
    split, found = assign(np.arange(20000), contents, 1)
    assert not found
    assert [round(split.count(name) / 20000, 2) for name in SPLITS] == [0.9, 0.05, 0.05]
    assert split != assign(np.arange(20000), contents, 2)[0]


@settings(deadline=None)
@given(st.sets(st.text("abcdef", min_size=4, max_size=8), min_size=3, max_size=60), st.integers(0, 9))
def test_no_split_is_empty_and_order_does_not_matter(contents: set[str], seed: int) -> None:
    ordered = sorted(contents)
    split, found = assign(np.arange(len(ordered)), ordered, seed)
    assert set(split) == set(SPLITS)
    again, _ = assign(np.arange(len(ordered)), ordered[::-1], seed)
    assert again[::-1] == split
    if not found:  # chance filled every split: one picture more changes no other's
        more, _ = assign(np.arange(len(ordered) + 1), [*ordered, "another"], seed)
        assert more[:-1] == split


def test_one_picture_more_changes_no_other_sample(tmp_path: Path) -> None:
    for number in range(30):
        save(tmp_path / f"source/{number:02d}.png", sight(number))
    take(tmp_path)
    before = read_manifest(tmp_path / "out").set_index("source")
    assert before["key"].str.fullmatch(r"(train|val|test)-[0-9a-f]{16}").all()
    save(tmp_path / "source/000.png", sight(1000))
    take(tmp_path)
    after = read_manifest(tmp_path / "out").set_index("source")
    assert after.loc[before.index].equals(before)
    save(tmp_path / "source/000.png", sight(0))
    found = take(tmp_path)
    assert found["000.png"].detail == "the same picture as 00.png, byte for byte"
    assert set(read_manifest(tmp_path / "out")["key"]) == set(before["key"])


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "validation", "testing"),
        ("train", "val2017", "test_images"),
        ("train_data", "eval", "TestSet"),
        ("training_set", "val-split", "test_set"),
    ],
)
def test_own_splits_are_kept_and_leaks_across_them_reported(names: tuple[str, str, str], tmp_path: Path) -> None:
    for number, (name, count) in enumerate(zip(names, (6, 2, 2), strict=True)):
        for place in range(count):
            save(tmp_path / f"source/{name}/{place}.png", sight(10 * number + place))
    take(tmp_path)
    table = read_manifest(tmp_path / "out")
    assert {(row.source.split("/")[0], row.split) for row in table.itertuples()} == set(zip(names, SPLITS, strict=True))
    assert "10 given" in notes(tmp_path)
    save(tmp_path / f"source/{names[2]}/leak.png", sight(0) // 2 + 60)
    take(tmp_path)
    assert "1 families of near-duplicates lie in several of the splits" in notes(tmp_path)


@pytest.mark.parametrize(
    ("folders", "named"),
    [("trainA testA", "testA/ and trainA/"), ("train test_hard", "test_hard/"), ("trains valley testbed", "")],
)
def test_folders_that_begin_like_splits_but_are_not_read_as_such_are_noted(
    folders: str, named: str, tmp_path: Path
) -> None:
    for number, folder in enumerate(folders.split()):
        save(tmp_path / f"source/{folder}/{number}.png", sight(number))
    take(tmp_path)
    assert (f"{named}: not read as splits; if they are, decide by hand: splits.csv" in notes(tmp_path)) == bool(named)
    assert ("not read as splits" in notes(tmp_path)) == bool(named)


def test_what_one_family_leaves_empty_is_said_and_decided_by_hand(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"source/{number}.png", sight(1) // 2 + 10 * number)
    take(tmp_path)
    assert "no sample in" in notes(tmp_path)
    assert "--splits FILE" in notes(tmp_path)
    take(tmp_path, splits="file_name,split\n0.png,val\n1.png,test\n2.png,train\n3.png,train\n4.png,train\n")
    table = read_manifest(tmp_path / "out").set_index("source")["split"]
    assert dict(table) == {"0.png": "val", "1.png": "test", "2.png": "train", "3.png": "train", "4.png": "train"}
    (tmp_path / "source/splits.csv").write_text("file_name,split\n3.png,test\n")
    assert take(tmp_path)["splits.csv"].status == "accepted"
    assert dict(read_manifest(tmp_path / "out").set_index("source")["split"]) == dict.fromkeys(
        (f"{number}.png" for number in range(5)), "test"
    )
    for splits, message in {
        "file_name,split\n9.png,val\n": r"9\.png is not an image",
        "file_name,split\n0.png,later\n": "'later' is not a split",
        "file_name,split\n0.png\n": "'' is not a split",
        "file_name,split\n0.png,val\n./0.png,val\n": "names 0.png twice",
        "file_name,split\n0.png,val\n0.png,test\n": "twice",
        "file_name,split,split\n0.png,val,test\n": "two columns split; its first line must be file_name,split",
        "file,part\n0.png,val\n": "no column file_name; its first line must be file_name,split",
        "file_name;split\n0.png;val\n": "no column file_name",
        "\n": "no column file_name",
        'file_name,split\n"0.png,val\n': "not a table of file_name,split",
    }.items():
        with pytest.raises(UsdError, match=message):
            take(tmp_path, splits=splits)


def test_a_table_of_splits_may_spell_paths_and_splits_as_other_tables_do(tmp_path: Path) -> None:
    rows = {"sub\\0.png": "validation", "./sub/1.png": "Test", "sub/2.png": "train"}
    for number in range(3):
        save(tmp_path / f"source/sub/{number}.png", sight(number))
    take(tmp_path, splits="\n".join(["file_name,split", *map(",".join, rows.items())]))
    assert list(read_manifest(tmp_path / "out").sort_values("source")["split"]) == ["val", "test", "train"]

"""Shards are byte-identical, read back whole, and their training order depends on the seed alone."""

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usd.data.record import field_path, read_manifest, write_manifest
from usd.data.shards import FIELDS, TrainingStream, check_shards, picture, read_index, read_split, training_loader
from usd.errors import UsdError
from usd.files import sha256
from usd.images import encode_png, read_png
from usd.stages import shard

ARGUMENTS = (Path("scenes"), Path("annotated"), Path("validation"))


def stream(root: Path, start: int = 0, rank: int = 0, world: int = 1, batch_size: int = 4) -> TrainingStream:
    return TrainingStream(root / "shards", 3, batch_size, 0.5, start, rank, world)


def test_every_sample_comes_back_once_and_whole(tiny: Path) -> None:
    for split in ("train", "val", "test"):
        samples = list(read_split(tiny / "shards", split))
        rows = read_manifest(tiny / "annotated").query("split == @split")
        assert [sample["__key__"] for sample in samples] == list(rows["key"])
        for sample, digest in zip(samples, rows["seg_sha256"], strict=True):
            assert sha256(sample["seg"]) == digest
            assert picture(sample, "image").shape == (64, 64, 3)


def test_packing_again_gives_the_same_bytes(inside_tiny: Path, tmp_path: Path) -> None:
    shard.main(*ARGUMENTS, tmp_path / "again")
    assert (tmp_path / "again/index.json").read_text() == Path("shards/index.json").read_text()


def test_one_changed_sample_changes_one_shard(inside_tiny: Path, tmp_path: Path, monkeypatch) -> None:
    for name in ("scenes", "annotated", "validation", "params.yaml"):
        (shutil.copytree if Path(name).is_dir() else shutil.copy)(name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    path = field_path(Path("annotated"), "train-00003", "depth")
    path.write_bytes(encode_png(255 - read_png(path)))
    rows = read_manifest(Path("annotated"))
    rows.loc[rows.key == "train-00003", "depth_sha256"] = sha256(path.read_bytes())
    write_manifest(rows.to_dict("records"), Path("annotated"))
    shard.main(*ARGUMENTS, Path("shards"))
    before, after = read_index(inside_tiny / "shards"), read_index(Path("shards"))
    changed = [a["shard"] for s in before for a, b in zip(before[s], after[s], strict=True) if a != b]
    assert changed == ["train-0000.tar"]


def test_a_picture_that_differs_from_the_manifest_is_refused(inside_tiny: Path, tmp_path: Path, monkeypatch) -> None:
    for name in ("scenes", "annotated", "validation", "params.yaml"):
        (shutil.copytree if Path(name).is_dir() else shutil.copy)(name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    field_path(Path("annotated"), "val-00001", "hed").write_bytes(b"damaged")
    with pytest.raises(UsdError, match=r"val-00001\.hed\.png: differs from the manifest"):
        shard.main(*ARGUMENTS, Path("shards"))
    assert not Path("shards").exists()


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 20))
def test_a_resumed_stream_goes_on_where_it_was(tiny: Path, start: int) -> None:
    whole = list(islice(stream(tiny), start + 2))
    for a, b in zip(whole[start:], islice(stream(tiny, start), 2), strict=True):
        assert (a.keys, a.task, a.index) == (b.keys, b.task, b.index)
        assert torch.equal(a.query, b.query)
        assert torch.equal(a.example_target, b.example_target)


def test_ranks_share_each_batch(tiny: Path) -> None:
    whole = list(islice(stream(tiny, batch_size=8), 4))
    parts = [list(islice(stream(tiny, rank=rank, world=2), 4)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert batch.keys == first.keys + second.keys
        assert batch.task == first.task == second.task


def test_workers_do_not_change_the_order(tiny: Path) -> None:
    alone = list(islice(training_loader(stream(tiny), 0), 5))
    helped = list(islice(training_loader(stream(tiny), 2), 5))
    assert [b.keys for b in alone] == [b.keys for b in helped]
    assert all(torch.equal(a.target, b.target) for a, b in zip(alone, helped, strict=True))


def test_an_epoch_shows_every_sample_at_most_once_and_epochs_differ(tiny: Path) -> None:
    batches = list(islice(stream(tiny), 12))  # 48 samples: 24 pairs, 6 batches an epoch
    first, second = ([key for b in part for key in b.keys] for part in (batches[:6], batches[6:]))
    assert len(set(first)) == 24
    assert first != second


def test_every_task_comes_up_once_in_six_batches(tiny: Path) -> None:
    assert len({batch.task.name for batch in islice(stream(tiny), 6)}) == 6


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_shard_is_named(tiny: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(tiny / "shards", tmp_path / "shards")
    path = tmp_path / "shards/val-0000.tar"
    path.write_bytes(path.read_bytes()[:2000]) if damage == "cut" else path.unlink()
    with pytest.raises(UsdError, match=r"val-0000\.tar"):
        check_shards(tmp_path / "shards")
    if damage == "gone":
        with pytest.raises(UsdError, match="damaged shard"):
            list(read_split(tmp_path / "shards", "val"))


def test_an_empty_split_is_named(tiny: Path, tmp_path: Path) -> None:
    index = json.loads((tiny / "shards/index.json").read_text()) | {"val": []}
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(UsdError, match="split 'val' is empty"):
        read_index(tmp_path)


def test_all_fields_are_packed(tiny: Path) -> None:
    assert set(FIELDS) <= set(next(read_split(tiny / "shards", "test")))

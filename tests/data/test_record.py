"""A manifest without samples is refused by whatever reads it, and is never written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from usd.data import record
from usd.data.index import Rows, table, write_table
from usd.data.record import MANIFEST, Manifest, data_digest, read_manifest, write_manifest
from usd.errors import UsdError
from usd.images import encode_png, read_png
from usd.stages import annotate, shard, validate
from usd.validation.inspection import inspect_samples

SCENES, ANNOTATED, VALIDATION, OUT = Path("scenes"), Path("annotated"), Path("validation"), Path("out")


@pytest.mark.parametrize(
    ("emptied", "stage"),
    [
        (SCENES, lambda: annotate.main(SCENES, OUT)),
        (SCENES, lambda: validate.main(SCENES, ANNOTATED, OUT, Path("docs"))),
        (ANNOTATED, lambda: validate.main(SCENES, ANNOTATED, OUT, Path("docs"))),
        (ANNOTATED, lambda: shard.main(SCENES, ANNOTATED, VALIDATION, OUT)),
    ],
    ids=["annotate", "validate scenes", "validate annotated", "shard"],
)
@pytest.mark.parametrize("columns", [True, False], ids=["no rows", "no columns"])
def test_a_stage_refuses_a_manifest_without_samples(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emptied: Path, stage: Callable[[], None], columns: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny / "params.yaml", tmp_path)
    shutil.copytree(tiny / VALIDATION, VALIDATION)
    for root in (SCENES, ANNOTATED):
        root.mkdir()
        shutil.copy(tiny / root / MANIFEST, root)
    none = read_manifest(emptied)[:0] if columns else pd.DataFrame()
    none.to_parquet(emptied / MANIFEST)
    with pytest.raises(UsdError, match=rf"^{emptied}/manifest\.parquet: no samples; render or ingest .*`dvc repro`$"):
        stage()
    assert not OUT.exists()
    assert not Path("docs").exists()


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"success": "no"}', '{"success": 1}'])
def test_a_summary_without_a_verdict_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    VALIDATION.mkdir()
    (VALIDATION / "summary.json").write_text(content)
    with pytest.raises(UsdError, match=r"^validation/summary\.json: does not say whether the data are sound; run `dvc"):
        shard.main(SCENES, ANNOTATED, VALIDATION, OUT)
    assert not OUT.exists()


def test_a_summary_of_other_data_is_refused(inside_tiny: Path, tmp_path: Path) -> None:
    """The digest of the manifests is that of the files, which stage `validate` reads."""
    summary = {"success": True, "digest": data_digest(inspect_samples(SCENES, ANNOTATED)["sample_hash"])}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    shard.main(SCENES, ANNOTATED, tmp_path, tmp_path / "shards")
    rows = read_manifest(ANNOTATED).assign(caption="another")
    (tmp_path / "annotated").mkdir()
    write_manifest(rows.to_dict("records"), tmp_path / "annotated")
    with pytest.raises(
        UsdError, match=r"summary\.json: was made from data other than scenes and .*; run `dvc repro validate`"
    ):
        shard.main(SCENES, tmp_path / "annotated", tmp_path, tmp_path / "shards")


@pytest.mark.parametrize("field", ["image", "normal"])
@pytest.mark.parametrize("how", ["altered", "a folder"])
def test_a_changed_file_is_not_annotated(
    field: str, how: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny / SCENES, SCENES)
    shutil.copy(tiny / "params.yaml", tmp_path)
    path = record.field_path(SCENES, "test-00001", field)
    if how == "altered":
        path.write_bytes(encode_png(read_png(path)[..., 0]))  # grey, as programs that make PNG smaller leave it
    else:
        path.unlink()
        path.mkdir()
    message = {"altered": "differs from the manifest; run the stage", "a folder": "not readable: Is a directory"}[how]
    with pytest.raises(UsdError, match=rf"^scenes/test/test-00001\.{field}\.png: {message}"):
        annotate.main(SCENES, OUT)


@pytest.mark.parametrize(
    ("changed", "message"),
    {
        "no seed": (lambda rows: rows.drop(columns="seed"), "no column 'seed'"),
        "no split": (lambda rows: rows.assign(split=[None, *rows["split"][1:]]), "a sample without 'split'"),
        "no key": (lambda rows: rows.assign(key=[*rows["key"][:-1], None]), "a sample without 'key'"),
        "keys that are numbers": (lambda rows: rows.assign(key=range(len(rows))), "column 'key' is int64, not text"),
        "digests that are numbers": (lambda rows: rows.assign(image_sha256=1.5), "column 'image_sha256' is double"),
        "lists of captions": (lambda rows: rows.assign(caption=[["a"]] * len(rows)), "column 'caption' is list"),
    }.values(),
)
def test_a_manifest_of_another_form_is_named(
    changed: Callable[[pd.DataFrame], pd.DataFrame], message: str, tiny: Path, tmp_path: Path
) -> None:
    changed(read_manifest(tiny / SCENES)).to_parquet(tmp_path / MANIFEST)
    with pytest.raises(UsdError, match=rf"manifest\.parquet: {message}.*; run the stage that makes it"):
        list(Manifest(tmp_path).rows())


def test_damage_amid_a_manifest_is_named(tiny: Path, tmp_path: Path) -> None:
    data = bytearray((tiny / SCENES / MANIFEST).read_bytes())
    place = data.find(b"train-0")
    data[place : place + 400] = bytes(400)
    (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(UsdError, match=r"manifest\.parquet: not a readable table .*; run the stage that makes it"):
        list(Manifest(tmp_path).rows())


def test_a_table_of_something_else_is_named_by_what_it_lacks(tmp_path: Path) -> None:
    pd.DataFrame({"key": ["train-0"], "label": [1]}).to_parquet(tmp_path / MANIFEST)
    with pytest.raises(UsdError, match=r"manifest\.parquet: no column 'split'; run the stage"):
        read_manifest(tmp_path)


def test_a_manifest_without_samples_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsdError, match=r"manifest\.parquet: no samples; render or ingest"):
        write_manifest([], tmp_path)
    assert not (tmp_path / MANIFEST).exists()


def test_a_manifest_has_the_same_bytes_in_whatever_order_its_rows_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than are ever together, and a column that only the last have."""
    monkeypatch.setattr(record, "AT_ONCE", 10)
    monkeypatch.setattr(record, "GROUP", 40)
    first = {"split": "train", "caption": "a cube", "image_sha256": "0" * 64}
    rows = [{"key": f"train-{number:03d}"} | first | ({"seed": number} if number > 70 else {}) for number in range(99)]
    write_manifest(rows, tmp_path)
    written = (tmp_path / MANIFEST).read_bytes()
    assert [*Manifest(tmp_path).rows()] == [{"seed": None} | row for row in rows]
    assert pq.ParquetFile(tmp_path / MANIFEST).num_row_groups == 3
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]
    for step in (2, 50, 98):  # which have no factor in common with 99
        write_manifest([rows[step * number % 99] for number in range(99)], tmp_path)
        assert (tmp_path / MANIFEST).read_bytes() == written


def test_the_stream_refuses_a_table_without_rows(tmp_path: Path) -> None:
    write_table(table([]), tmp_path / "train.arrow")
    with pytest.raises(UsdError, match=r"train\.arrow: no samples; .*run `dvc repro shard`"):
        Rows(tmp_path / "train.arrow")

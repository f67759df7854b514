"""The validation stage and its suite."""

import json
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from benchmarks.damage import DAMAGES, Copy, examine, judge, misfile, swap
from usd import config
from usd.data.record import SPLITS, field_path, read_manifest
from usd.errors import UsdError
from usd.images import read_png
from usd.stages import shard
from usd.stages.validate import main
from usd.validation.expectations import Report, validate
from usd.validation.fit import slope
from usd.validation.inspection import HASHES, columns, inspect_samples, inspected, tabulate
from usd.validation.measures import ALIGNED, IMAGE_EDGE, alignment
from usd.validation.summary import as_json, as_samples, summarise

pytestmark = pytest.mark.slow

SCENES, ANNOTATED, OUT, DOCS = Path("scenes"), Path("annotated"), Path("out"), Path("docs")


@pytest.fixture
def project(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project, to be damaged, as working directory."""
    for name in ("scenes", "annotated"):
        shutil.copytree(tiny / name, tmp_path / name)
    shutil.copy(tiny / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sound_data_pass_and_the_summary_depends_on_the_data_alone(project: Path) -> None:
    main(SCENES, ANNOTATED, OUT, DOCS)
    text = (OUT / "summary.json").read_text()
    summary = json.loads(text)
    assert summary["success"]
    assert {split: part["samples"] for split, part in summary["splits"].items()} == {"train": 48, "val": 12, "test": 12}
    assert summary["digest"] in (OUT / "summary.md").read_text()
    table = inspect_samples(project / SCENES, project / ANNOTATED)
    assert as_json(summarise(validate(table, config.load().validate), table)) == text
    listed = pd.read_csv(OUT / "samples.csv")
    assert list(listed["key"]) == sorted(table["key"])
    assert list(listed["digest"]) == [digest.hex()[:12] for digest in table.sort_values("key")["sample_hash"]]
    assert as_samples(table[::-1]) == (OUT / "samples.csv").read_text()
    assert (DOCS / "index.html").is_file()
    ids = [row["id"] for row in summary["expectations"]]
    assert len(set(ids)) == len(ids)
    assert ids[0] == "table_row_count_to_be_between.split.train"


def test_a_failure_names_key_and_remedy_and_nothing_is_packed(project: Path) -> None:
    field_path(ANNOTATED, "val-00003", "hed").unlink()
    with pytest.raises(UsdError, match=r"every declared file is present: 1 sample \(val-00003\).*dvc repro"):
        main(SCENES, ANNOTATED, OUT, DOCS)
    assert "val-00003 (annotated/hed)" in (OUT / "summary.md").read_text()
    with pytest.raises(UsdError, match=r"out/summary\.json: validation failed; .*run `dvc repro validate`"):
        shard.main(SCENES, ANNOTATED, OUT, project / "packed")
    with pytest.raises(UsdError, match=r"nowhere/summary\.json: not found; run the stage"):
        shard.main(SCENES, ANNOTATED, Path("nowhere"), project / "packed")
    assert not (project / "packed").exists()


def test_one_sample_in_a_thousand_may_look_wrong_by_chance(inside_tiny: Path) -> None:
    """Of 8000 rendered scenes two had such maps, and two looked alike by chance: else no large set would pass."""
    once = inspect_samples(SCENES, ANNOTATED)
    table = pd.concat([once] * 30, ignore_index=True)  # 2160 samples
    table["key"] = [f"{split}-{number:05d}" for number, split in enumerate(table["split"])]
    by_chance = {"alignment_depth": 0.0, "near_leaks": "test-00124"}
    table["near_leaks"] = table["near_leaks"].cat.add_categories("test-00124")
    params, ids = config.load().validate, []
    other = replace(params, max_caption=999, min_samples=2, min_alignment=0.01)
    for count, failing, asked in ((1, [], params), (10, list(by_chance), other)):
        for column, value in by_chance.items():
            table.loc[: count - 1, column] = value
        found = validate(table, asked)
        assert [outcome.column for outcome in found.failed] == sorted(failing, reverse=True)
        ids.append([outcome.id for outcome in found.outcomes])
    assert ids[0] == ids[1]  # whatever the thresholds, so that reviews find the same expectation again


def test_every_kind_of_damage_is_caught_and_its_keys_named(inside_tiny: Path) -> None:
    planted, tables = {}, []
    for damage in DAMAGES:
        keys, table = examine(damage.plant, Copy(SCENES, ANNOTATED), 4)
        planted[damage.name] = {f"{damage.name} {key}" for key in keys}
        tables.append(table.assign(key=damage.name + " " + table["key"]))
    report = validate(pd.concat(tables, ignore_index=True), config.load().validate)
    for damage in DAMAGES:
        named = {key for key in judge(damage, set(), report).named if key.startswith(damage.name)}
        assert named, damage.name
        assert named == planted[damage.name] or damage.plant is swap  # one in thirty fits another's maps by chance


def test_samples_of_another_split_than_they_say_are_named(inside_tiny: Path) -> None:
    planted, table = examine(misfile, Copy(SCENES, ANNOTATED), 4)
    missing, failed = validate(table, replace(config.load().validate, min_samples=1)).failed
    assert (missing.name, failed.name) == ("val has at least 1 samples", "the key starts with the split")
    assert set(failed.failures) == planted
    table["split"] = "holdout"
    odd = next(each for each in validate(table, config.load().validate).failed if each.name.startswith("the split is"))
    assert ["min_samples" in each.remedy for each in (missing, failed, odd)] == [True, False, False]


def test_the_demonstration_does_not_claim_a_catch_where_nothing_fails() -> None:
    assert not judge(DAMAGES[0], {"test-00000"}, Report([])).caught


def test_a_leak_names_both_keys_though_the_file_is_encoded_anew(project: Path) -> None:
    picture = read_png(field_path(SCENES, "train-00002", "image"))
    cv2.imwrite(str(field_path(SCENES, "test-00001", "image")), picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    leaks = inspect_samples(SCENES, ANNOTATED).set_index("key")["leaks"]
    assert dict(leaks[leaks != ""]) == {"test-00001": "train-00002", "train-00002": "test-00001"}


def test_shuffled_maps_fail_the_mean_of_every_split(inside_tiny: Path) -> None:
    params, table = config.load().validate, inspect_samples(SCENES, ANNOTATED)
    assert table["alignment_seg"].mean() > 0.95
    keys = list(table["key"])
    for key, other in zip(keys, keys[1:] + keys[:1], strict=True):
        edges = slope(read_png(field_path(SCENES, key, "image"))) > IMAGE_EDGE
        near = cv2.dilate(edges.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        for name in ALIGNED:
            picture = read_png(field_path(ANNOTATED, other, name))
            table.loc[table["key"] == key, f"alignment_{name}"] = alignment(near, slope(picture))
    report = validate(table, params)
    for split in SPLITS:
        assert any(outcome.name.startswith(f"{split}: class boundaries") for outcome in report.failed)
    named = {key for outcome in report.failed for key in outcome.failures}
    assert len(named) > 0.9 * len(keys)


def test_alignment_of_nothing_is_unknown() -> None:
    assert alignment(np.zeros((16, 16), bool), np.zeros((16, 16), np.float32)) is None


def test_an_empty_split_a_repeated_key_and_a_lone_manifest_row_fail(project: Path) -> None:
    frame = read_manifest(ANNOTATED)
    frame[frame["key"] != "test-00000"].to_parquet(ANNOTATED / "manifest.parquet")
    table = inspect_samples(SCENES, ANNOTATED)
    table = table[table["split"] != "val"].reset_index(drop=True)
    table.loc[2, "key"] = table.loc[1, "key"]
    failed = {outcome.name: outcome for outcome in validate(table, config.load().validate).failed}
    assert failed["val has at least 10 samples"].observed == "0"
    assert set(failed["keys are unique"].failures) == {"test-00001"}
    assert set(failed["both manifests have the sample and agree"].failures) == {"test-00000"}


def test_the_table_and_its_making_take_little_memory_a_sample(tiny: Path) -> None:
    few, count = list(inspected(tiny / "scenes", tiny / "annotated")), 5_000
    assert {name for row in few for name in row} <= {*columns().table(), "thumbnail"}
    chosen = np.random.default_rng(0)
    hashes, thumbnails = chosen.integers(2**63, size=(count, len(HASHES))), chosen.bytes(192 * count)

    def sample(number: int) -> dict[str, object]:
        others = dict(zip(HASHES, hashes[number].tolist(), strict=True))
        others |= {"key": f"train-{number:07d}", "sample_hash": number.to_bytes(32)}
        return few[number % len(few)] | others | {"thumbnail": thumbnails[192 * number : 192 * (number + 1)]}

    tracemalloc.start()
    try:
        table = tabulate(map(sample, range(count)))
        assert tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory() < 1000 * count
    finally:
        tracemalloc.stop()
    assert len(table) == count

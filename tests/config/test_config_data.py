"""The sections on data: what no stage could work with is refused when params.yaml is read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.config.test_config import edited
from tests.conftest import ROOT
from usd import config
from usd.annotators.maps import depth, normal
from usd.config.data import KINDS
from usd.data.classes import OBJECTS
from usd.errors import UsdError
from usd.stages import annotators, render, run


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("near: 1.2", "near: 0", r"annotate\.near: must be at least 0\.001, found 0"),
        ("near: 1.2", "near: 1.0e-320", r"annotate\.near: must be at least 0\.001"),
        ("canny_high: 160", "canny_high: 1.0e+10", r"annotate\.canny_high: must be at most 2\.1\S+, found 1"),
        ("objects: [2, 5]", "objects: [1, 100]", r"render\.objects\.1: must be at most 20, found 100"),
        ("  seed: 1", "  seed: 9223372036", r"render\.seed: must be at most 9\.2\S+, found 9223372036"),
        ("test_seed: 2", f"test_seed: {2**63 - 1}", r"render\.test_seed: must be at most 9\.2"),
        ("image_size: 64", "image_size: 8", r"render\.image_size: must be at least 16, found 8"),
        (
            "scenes: data/scenes",
            "scenes: s3://b/scenes",
            r"paths\.scenes: must be a folder on this mac.*, found 's3:",
        ),
        (
            "annotators: models/annotators",
            "annotators: s3://b/x",
            r"paths\.annotators: must be a folder on this",
        ),
        ("judges: models/judges", "judges: s3://b/x", r"paths\.judges: must be a folder on this machine"),
        ("networks: models/no_networks", "networks: s3://b/x", r"annotate\.networks: must be a folder on this machine"),
        ("launch: python -m", "launch: ' '", r"paths\.launch: must not be empty"),
        ("batch_size: 16", "batch_size: 15", r"annotators\.batch_size: must be a multiple of 2, found 15"),
        ("image_size: 64", "image_size: 800000", r"render\.image_size: must be at most 4096, found 800000"),
        ("train: 4000", f"train: {9 * 10**18}", r"render\.train: must be at most 1e\+07, found 9"),
        ("patch_size: 2", "patch_size: 128", r"base\.patch_size: must be a power of two that divides .* 64, found 128"),
        ("[16, 32, 64]", f"{[8] * 7}", r"base\.channels: at most 6 widths, as the network halves 32 between"),
        ("[24, 48, 96]", f"{[8] * 7}", r"annotators\.channels: at most 6 widths, as the network halves 32"),
        ("data/shards", "data/my shards", r"paths\.shards: must not contain ' ', which a shell would interpret"),
        ("base: models/base", "base: models/$new", r"train\.base: must not contain '\$', which a shell would"),
        ("val: 200", "val: 10000001", r"render\.val: must be at most 1e\+07, found 10000001"),
    ],
)
def test_a_value_that_no_stage_can_work_with_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsdError, match=rf"^{tmp_path}/params\.yaml: {message}"):
        config.load(edited(tmp_path, (old, new)))


def test_a_side_that_the_adapter_cannot_halve_to_is_named(tmp_path: Path) -> None:
    wanted = r"base\.patch_size: must be a power of two that divides render\.image_size, which is 96, found 3"
    with pytest.raises(UsdError, match=wanted):
        config.load(edited(tmp_path, ("image_size: 64", "image_size: 96"), ("patch_size: 2", "patch_size: 3")))


def test_a_path_that_became_two_arguments_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edited(tmp_path, ("data/shards", "data/my shards"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["annotators", "data/my", "shards", *"abc"])
    with pytest.raises(SystemExit, match="1"):
        run(annotators.main)
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: params.yaml: paths.shards: must not contain ' '")


def test_a_scene_has_no_more_objects_than_there_are() -> None:
    assert len(OBJECTS) == KINDS


def test_the_largest_values_leave_room_for_every_seed_and_map(tmp_path: Path) -> None:
    edits = ("  seed: 1", "  seed: 9223372035"), ("near: 1.2", "near: 0.001"), ("objects: [2, 5]", "objects: [20, 20]")
    params = config.load(edited(tmp_path, *edits, ("train: 4000", "train: 10000000")))
    assert (params.render.seed + 1) * render.SEEDS - 1 < 2**63
    assert max(params.render.counts.values()) < render.SEEDS // 10
    metres = np.array([[0, 1], [1000, 65535]], dtype=np.uint16)
    found = depth({"depth_mm": metres}, params.annotate)
    assert found[..., 0].tolist() == [[255, 255], [0, 0]]
    assert normal({"depth": found}, params.annotate).shape == (2, 2, 3)


@given(st.floats(0.1, 100))
def test_normals_are_the_same_however_large_the_scene_is(scale: float) -> None:
    params = config.load(ROOT / "params.yaml").annotate
    ramp = np.tile(np.linspace(0, 255, 16).astype(np.uint8)[:, None, None], (1, 16, 3))
    found = [normal({"depth": ramp}, replace(params, near=params.near * s, far=params.far * s)) for s in (1, scale)]
    assert np.abs(found[0].astype(int) - found[1]).max() <= 1  # a rounding
    assert (found[0][1:] != (128, 128, 255)).any()

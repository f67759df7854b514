"""The training of the small annotators: what its parameters weigh."""

from dataclasses import replace
from pathlib import Path

import pytest

from usd import config
from usd.data.shards import Shards
from usd.errors import UsdError
from usd.training.annotators import train_annotators


def test_the_error_of_the_depth_counts_as_its_weight_says(inside_tiny: Path, tmp_path: Path) -> None:
    params = replace(config.load().annotators, steps=1, warmup=0, log_every=1, workers=0)
    rows = []
    for weight in (1.0, 10.0):
        weighted = replace(params, depth_weight=weight)
        rows += train_annotators(Shards.open("shards"), weighted, tmp_path / str(weight))[1]
    light, heavy = rows
    assert light["depth"] > 0
    assert heavy["depth"] == pytest.approx(10 * light["depth"], rel=1e-5)
    assert heavy["segmentation"] == light["segmentation"]
    assert heavy["loss"] == pytest.approx(heavy["depth"] + heavy["segmentation"], rel=1e-5)


def test_a_batch_is_shared_by_two_maps(inside_tiny: Path, tmp_path: Path) -> None:
    params = replace(config.load().annotators, batch_size=5)
    with pytest.raises(UsdError, match=r"annotators\.batch_size: 5 is not even; depth and segmentation take half each"):
        train_annotators(Shards.open("shards"), params, tmp_path / "run")
    assert not (tmp_path / "run").exists()

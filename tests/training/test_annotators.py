"""The training of the small annotators: what its parameters weigh."""

from dataclasses import replace
from pathlib import Path

import pytest

from usd import config
from usd.data.shards import Shards
from usd.training.annotators import train_annotators


def test_the_error_of_the_depth_counts_as_its_weight_says(inside_tiny: Path, tmp_path: Path) -> None:
    params = replace(config.load().annotators, steps=1, batch_size=4, warmup=0, log_every=1, workers=0)
    rows = []
    for weight in (1.0, 10.0):
        weighted = replace(params, depth_weight=weight)
        rows += train_annotators(Shards.open("shards"), weighted, tmp_path / str(weight))[1]
    light, heavy = rows
    assert light["depth"] > 0
    assert heavy["depth"] == pytest.approx(10 * light["depth"], rel=1e-5)
    assert heavy["segmentation"] == light["segmentation"]
    assert heavy["loss"] == pytest.approx(heavy["depth"] + heavy["segmentation"], rel=1e-5)

"""The fixed list of test items."""

from pathlib import Path

import pytest

from usd.data.shards import Shards
from usd.errors import UsdError
from usd.evaluation.manifest import Samples
from usd.tasks import TASKS


def test_the_items_are_fixed_and_no_query_is_its_own_example(tiny: Path) -> None:
    samples = Samples(Shards.open(tiny / "shards")["test"])
    items = samples.manifest(TASKS["image2depth"], 12, seed=1)
    assert [item.query for item in items] == samples.keys
    assert all(item.query != item.example for item in items)
    assert items[:5] == samples.manifest(TASKS["image2depth"], 5, seed=1)  # more items change none of the first
    assert items != samples.manifest(TASKS["image2depth"], 12, seed=2)


def test_more_items_than_samples_are_refused(tiny: Path) -> None:
    samples = Samples(Shards.open(tiny / "shards")["test"])
    with pytest.raises(UsdError, match="image2depth: 13 items asked for, but the split has 12 samples"):
        samples.manifest(TASKS["image2depth"], 13, seed=1)

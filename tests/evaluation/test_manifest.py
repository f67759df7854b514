"""The fixed list of test items."""

from dataclasses import replace
from pathlib import Path

import pytest

from usd import config
from usd.data.shards import Shards
from usd.errors import UsdError
from usd.evaluation.manifest import Samples
from usd.stages import evaluate
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
    with pytest.raises(UsdError, match=r"image2depth: 13 items need 13 samples, but split 'test' of .* has 12;"):
        samples.manifest(TASKS["image2depth"], 13, seed=1)


@pytest.mark.parametrize(("key", "split"), [("validation_items", "val"), ("items", "test"), ("unseen_items", "test")])
def test_a_stage_refuses_more_items_than_samples_before_it_reads_the_model(
    inside_tiny: Path, monkeypatch: pytest.MonkeyPatch, key: str, split: str
) -> None:
    params = config.load()
    samples = len(Shards.open("shards")[split])
    many = replace(params, evaluate=replace(params.evaluate, **{key: samples + 1}))
    monkeypatch.setattr(config, "load", lambda: many)
    with pytest.raises(UsdError, match=f"^{key}: {samples + 1} items need .* split '{split}' of shards has {samples};"):
        evaluate.main("us_diffusion", "shards", Path("judges"), Path("model"), inside_tiny / "out")

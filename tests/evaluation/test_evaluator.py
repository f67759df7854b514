"""One variant's evaluation: what is measured, on which items, and that the pair's content is what is tested."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import untrained
from usd import config
from usd.annotators.bundled import soft_edges
from usd.config.training import OURS, VARIANTS
from usd.data.shards import Shards
from usd.errors import UsdError
from usd.evaluation.context import change, first, other
from usd.evaluation.evaluator import Evaluator, Measure, finite
from usd.evaluation.files import read_results
from usd.evaluation.manifest import Samples, mean_maps
from usd.evaluation.sampling import Candidate, Shown
from usd.evaluation.yardsticks import base_alone, trivial
from usd.tasks import TASKS, TRAINED, UNSEEN

pytestmark = pytest.mark.slow

ONE = Candidate(1, 1.0)


@pytest.fixture
def evaluator(pipeline, inside_tiny: Path) -> Evaluator:
    params = replace(config.load().evaluate, items=3, curve_items=3, replicates=20)
    return Evaluator(pipeline, "ess", 10, params, Measure(mean_maps(Shards.open("shards")), {"hed": soft_edges}))


@pytest.fixture
def test_split(inside_tiny: Path) -> Samples:
    return Samples(Shards.open("shards")["test"])


def test_the_truth_scores_no_error_and_the_mean_map_scores_the_floor(evaluator: Evaluator, test_split: Samples) -> None:
    items = test_split.manifest(TASKS["image2depth"], 3, 1)
    truth = test_split.pictures([item.query for item in items], "depth")
    assert evaluator.measure(test_split, items, truth).scores["rmse"] == 0
    mean = evaluator.measure.means["depth"].expand_as(truth)
    assert evaluator.measure(test_split, items, mean).scores["floor_ratio"] == pytest.approx(1)
    images = test_split.manifest(TASKS["hed2image"], 3, 1)
    found = evaluator.measure(test_split, images, test_split.pictures([item.query for item in images], "image"))
    assert found.scores["fd"] == pytest.approx(0, abs=1e-3)
    assert found.scores["adherence_rmse"] == found.scores["adherence_of_truth"]


@pytest.mark.parametrize(
    "shown", [Shown(black=True), Shown(task=TASKS["image2hed"]), Shown(named=True), Shown(pairs=2)]
)
def test_every_setting_reaches_the_network(evaluator: Evaluator, test_split: Samples, shown: Shown) -> None:
    task = TASKS["image2depth"]
    usual, found = (evaluator.score(test_split, task, 2, ONE, each) for each in (Shown(), shown))
    assert not torch.equal(usual.images, found.images)


def test_a_model_that_reads_no_example_is_told_the_map(evaluator: Evaluator, base, test_split: Samples) -> None:
    alone, task = replace(evaluator, pipeline=untrained(base, "control")), TASKS["image2depth"]
    usual, named, black = (
        alone.score(test_split, task, 2, ONE, shown).images for shown in (None, Shown(named=True), Shown(black=True))
    )
    assert torch.equal(usual, named)
    assert torch.equal(usual, black)


def test_more_examples_follow_the_first_and_are_never_the_query(test_split: Samples) -> None:
    for item in test_split.manifest(TASKS["image2seg"], 6, 3):
        keys = [test_split.example(item, number) for number in range(4)]
        assert keys[0] == item.example
        assert len(set(keys)) == 4
        assert item.query not in keys


def test_the_change_of_a_shifted_answer_is_its_shift(evaluator: Evaluator, test_split: Samples) -> None:
    items = test_split.manifest(TASKS["image2depth"], 3, 1)
    truth = test_split.pictures([item.query for item in items], "depth")
    near, far = (evaluator.measure(test_split, items, truth + shift) for shift in (0.1, 0.3))
    found = change(first(near, 3), far, "rmse", evaluator)
    assert (found.delta, found.low, found.high) == pytest.approx((0.2, 0.2, 0.2), abs=1e-5)


def test_another_task_has_the_same_direction() -> None:
    assert all(other(task).direction == task.direction and other(task) != task for task in TRAINED)


def test_the_base_alone_sees_the_query_and_the_prompt(base, test_split: Samples) -> None:
    items = test_split.manifest(TASKS["image2depth"], 2, 1)
    depth = base_alone(base, test_split, items, batch_size=1)
    assert torch.allclose(depth, base_alone(base, test_split, items, batch_size=2), atol=1e-4)
    edges = base_alone(base, test_split, test_split.manifest(TASKS["image2hed"], 2, 1), batch_size=2)
    assert not torch.allclose(depth, edges, atol=0.01)
    truth = test_split.pictures([item.query for item in items], "depth")
    flat = truth.mean((2, 3), keepdim=True).expand_as(truth)
    assert (depth - truth).square().mean() < (flat - truth).square().mean()  # its pre-training taught it the task


def test_trivial_answers_are_what_their_names_say(test_split: Samples) -> None:
    items = test_split.manifest(TASKS["image2normal"], 2, 1)
    found = trivial(test_split, items, torch.full((3, 64, 64), 0.25))
    assert torch.equal(found["copy of the query"], test_split.pictures([item.query for item in items], "image"))
    target = test_split.pictures([item.example for item in items], "normal")
    assert torch.equal(found["copy of the example's target"], target)
    colour = found["mean colour of the example's target"]
    assert torch.allclose(colour[..., 0, 0], target.mean((2, 3)))
    assert colour.std((2, 3)).max() < 1e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_row_of_every_task_is_measured(evaluated: Path, variant: str) -> None:
    found = read_results(evaluated / variant)
    rows = {(row["row"], row["task"], row["direction"]) for row in found.curve.to_dict("records")}
    labels = ("chosen", "paper", "1", "2")
    assert rows == {(label, task.map.name, task.direction) for task in TRAINED for label in labels} | {
        ("chosen", task.map.name, task.direction) for task in UNSEEN
    }
    assert {f"{label}/image2depth/rmse" for label in labels} < set(found.replicates)
    assert set(found.metrics["sampling"]["image2map"]["validation_rmse"]) == {"1", "2"}
    assert set(found.context) == {task.name for task in TRAINED}
    assert found.metrics["image2map"]["depth"]["swapped_pair_change"] > 0


def test_the_replicates_of_a_row_spread_around_its_value(evaluated: Path) -> None:
    found = read_results(evaluated / OURS)
    replicates = found.replicates["chosen/image2depth/rmse"]
    value = found.value("chosen", "image2depth", "rmse")
    assert value == found.metrics["image2map"]["depth"]["rmse"]
    assert abs(np.mean(replicates) - value) < 3 * np.std(replicates)


def test_a_score_that_is_not_finite_names_task_and_remedy() -> None:
    with pytest.raises(UsdError, match="image2depth: rmse not finite; the model has diverged"):
        finite({"rmse": float("nan"), "floor": 1.0}, TASKS["image2depth"])

"""The study: differences over several training seeds."""

import numpy as np

from usd.evaluation.bootstrap import interval
from usd.study.findings import seed_differences


def test_seeds_that_disagree_widen_the_interval() -> None:
    items = np.random.default_rng(3).normal(0, 0.01, 4000)
    agree = seed_differences([items, items, items], [items + 1, items + 1, items + 1], seed=1)
    differ = seed_differences([items, items + 2, items - 2], [items + 1, items + 1, items + 1], seed=1)
    assert interval(-1.0, agree).is_below_zero
    assert not interval(-1.0, differ).is_below_zero


def test_intervals_over_three_seeds_hold_the_truth_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(5), 0
    for trial in range(400):
        ours, theirs = ([np.full(200, value) for value in rng.normal(0, 1, 3)] for _ in range(2))
        delta = float(np.mean(ours) - np.mean(theirs))
        found = interval(delta, seed_differences(ours, theirs, trial))
        held += found.low <= 0 <= found.high
    assert 0.92 <= held / 400 <= 0.98

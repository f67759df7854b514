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

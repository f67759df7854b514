"""Intervals: exact where the answer is known, paired, and as wide as the spread that they cover."""

import numpy as np
import pytest
import torch

from usd.evaluation.bootstrap import fd_replicates, interval, resamples, rmse_replicates
from usd.evaluation.metrics import frechet_distance

DRAWS = resamples(30, 2000, seed=1)


def test_the_draws_depend_on_seed_and_count_alone() -> None:
    assert np.array_equal(DRAWS, resamples(30, 2000, seed=1))
    assert not np.array_equal(DRAWS, resamples(30, 2000, seed=2))


def test_an_interval_of_a_mean_has_its_textbook_width() -> None:
    squared = np.random.default_rng(0).uniform(1, 3, 30)
    found = interval(0.0, rmse_replicates(squared, DRAWS))
    error = squared.std() / (2 * np.sqrt(squared.mean()) * np.sqrt(30))  # of √mean, by its derivative
    assert (found.low, found.high) == pytest.approx((-1.96 * error, 1.96 * error), rel=0.1)


def test_the_distance_of_a_replicate_is_that_of_its_items() -> None:
    real = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    fake = real.roll(1, 1) * 1.5 + 0.1
    draws = resamples(12, 5, seed=3)
    wanted = [frechet_distance(real[row], fake[row]) for row in torch.from_numpy(draws)]
    assert fd_replicates(real, fake, draws) == pytest.approx(wanted, rel=1e-6)


def test_a_constant_gain_on_noisy_items_is_seen_because_items_are_paired() -> None:
    noisy = np.random.default_rng(1).uniform(0, 4, 30)
    differences = rmse_replicates(noisy + 0.1, DRAWS) - rmse_replicates(noisy, DRAWS)
    found = interval(float(np.sqrt((noisy + 0.1).mean()) - np.sqrt(noisy.mean())), differences)
    assert found.is_above_zero
    unpaired = rmse_replicates(noisy + 0.1, DRAWS) - rmse_replicates(noisy, resamples(30, 2000, seed=9))
    assert not interval(found.delta, unpaired).is_above_zero


def test_a_bias_of_the_replicates_does_not_move_the_interval() -> None:
    spread = np.random.default_rng(2).normal(0, 1, 4000)
    assert interval(5.0, spread + 100) == interval(5.0, spread)

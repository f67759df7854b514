import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from usd.diffusion.timesteps import LISTS, draw_timesteps, sampling_timesteps, timesteps
from usd.errors import UsdError


@given(st.sampled_from(["ess", "uniform"]), st.integers(1, 999))
def test_ascending_unique_in_range(strategy, count) -> None:
    steps = timesteps(strategy, count)
    assert len(steps) == count
    assert steps == sorted(set(steps))
    assert steps[0] >= 0
    assert steps[-1] == (998 if strategy == "ess" else 999)


def test_the_papers_lists_are_kept() -> None:
    for count, steps in LISTS.items():
        assert timesteps("ess", count) == steps


def test_fewer_steps_than_ten_are_timesteps_of_the_ten() -> None:
    for count in range(1, 10):
        assert set(timesteps("ess", count)) <= set(LISTS[10])


@given(st.integers(3, 60))
def test_ess_is_dense_where_noise_is_high(count) -> None:
    steps = timesteps("ess", count)
    assert sum(t >= 500 for t in steps) >= sum(t < 500 for t in steps)


def test_sampling_leaves_out_the_step_without_noise() -> None:
    assert sampling_timesteps("ess", 10)[-1] == 80
    assert sampling_timesteps("ess", 1) == [998]


def test_draws_are_antithetic_and_from_the_list() -> None:
    drawn = draw_timesteps("ess", 10, 8, torch.Generator().manual_seed(0))
    steps = sampling_timesteps("ess", 10)
    places = [steps.index(int(t)) for t in drawn]
    assert all(a + b == 8 for a, b in zip(places[:4], places[4:], strict=True))


@pytest.mark.parametrize("count", [0, 1000])
def test_impossible_counts_are_refused(count) -> None:
    with pytest.raises(UsdError, match="between 1 and 999"):
        timesteps("ess", count)

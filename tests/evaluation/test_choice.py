"""The choice of sampling: one rule for all variants."""

from dataclasses import replace

import pytest

from tests.conftest import ROOT
from usd import config
from usd.errors import UsdError
from usd.evaluation.choice import Choice, choose
from usd.evaluation.sampling import Candidate

PARAMS = config.load(ROOT / "params.yaml").evaluate
TRIED = {(1, 1): 5.0, (1, 2): 6.0, (2, 1): 4.0, (2, 2): 1.0, (4, 1): 2.0, (4, 2): 3.0}
CHOICE = Choice("rmse", {Candidate(steps, float(guidance)): error for (steps, guidance), error in TRIED.items()})


def test_the_least_error_wins_and_all_that_was_tried_is_kept() -> None:
    assert CHOICE.best == Candidate(2, 2.0)
    found = CHOICE.as_dict()
    assert (found["steps"], found["guidance_scale"], found["nfe"]) == (2, 2.0, 4)
    assert found["validation_rmse"]["4"] == {"1.0": 2.0, "2.0": 3.0}


@pytest.mark.parametrize(("budget", "candidate"), [(1, (1, 1)), (2, (2, 1)), (4, (2, 2)), (9, (9, 1)), (100, (100, 1))])
def test_a_budget_is_spent_on_guidance_or_on_steps(budget: int, candidate: tuple[int, int]) -> None:
    found = CHOICE.within(budget)
    assert (found.steps, found.guidance_scale) == candidate
    assert budget / 2 < found.nfe <= budget


def test_long_lists_are_not_tried() -> None:
    tried: list[Candidate] = []

    def error(candidate: Candidate) -> float:
        tried.append(candidate)
        return 1.0

    choice = choose("fd", replace(PARAMS, step_counts=[1, 9, 19]), 10, error)
    assert {candidate.steps for candidate in tried} == {1, 9}
    assert choice.best == Candidate(1, 1.0)
    assert choice.within(99) == Candidate(99, 1.0)


@pytest.mark.parametrize(("ess_steps", "counts"), [(3, {1, 2}), (5, {1, 2, 4}), (10, {1, 2, 4, 9}), (20, {1, 19})])
def test_only_lists_that_were_trained_are_tried(ess_steps: int, counts: set[int]) -> None:
    choice = choose("fd", replace(PARAMS, step_counts=[1, 2, 4, 9, 19]), ess_steps, lambda candidate: 1.0)
    assert {candidate.steps for candidate in choice.tried} == counts
    assert choice.within(1).steps == 1
    assert choice.within(4).nfe <= 4


def test_no_trained_list_is_said() -> None:
    with pytest.raises(
        UsdError, match=r"evaluate.step_counts: \[4, 9\] timesteps are not part .*ess_steps: 20\); list 19"
    ):
        choose("fd", replace(PARAMS, step_counts=[4, 9]), 20, lambda candidate: 1.0)


def test_a_budget_that_no_candidate_fits_is_named() -> None:
    guided = Choice("rmse", {Candidate(4, 2.0): 1.0})
    with pytest.raises(UsdError, match="no candidate takes at most 4 evaluations"):
        guided.within(4)


@pytest.mark.parametrize(("strategy", "steps", "first"), [("ess", 9, 998), ("ess", 1, 998), ("uniform", 9, 999)])
def test_a_candidate_takes_as_many_timesteps_as_it_says(strategy, steps: int, first: int) -> None:
    found = Candidate(steps, 1.0).sampling(strategy).timesteps
    assert len(found) == steps
    assert found[0] == first

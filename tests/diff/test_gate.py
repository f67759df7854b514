"""Checks of the gate that newly fail or are gone."""

import pytest

from tests.diff.project import METRICS, Project

pytestmark = pytest.mark.slow


def test_a_check_that_newly_fails_is_a_regression(project: Project) -> None:
    project.edit("params.yaml", lambda params: params["gate"].update(speedup=9.5))
    project.commit()
    name = "end-to-end speedup, ESS-10 over 100 DDIM steps"
    assert project.regressions() == [f"gate newly fails: {name}"]
    assert f"| {name} | 9 (≥ 5) | 9 (≥ 9.5) | **newly fails** |" in project.review()
    assert project.run("base", "--fail-on-regression").exit_code == 1
    project.git("tag", "--force", "base")
    project.write("README.md", "x")
    project.commit()
    assert project.regressions() == []  # it failed before already
    project.edit("params.yaml", lambda params: params["gate"].update(speedup=2))
    project.commit()
    assert "gate: 1 fixed" in project.review().splitlines()[0]


def test_a_check_that_is_no_longer_made_is_a_regression(project: Project) -> None:
    project.edit(METRICS, lambda found: found["image2map"].pop("seg"))
    project.commit()
    metrics = [f"us_diffusion, image2seg: {name} is gone" for name in ("floor_ratio", "rmse", "swapped_pair_change")]
    assert project.regressions() == [*metrics, "gate no longer checks: segments RMSE / floor"]

"""Other parameters, as DVC experiments."""

from pathlib import Path

import pytest

from tests.flows.project import artifact, in_project, run, tasks_of
from usd.errors import UsdError


def test_a_path_that_dvc_cannot_write_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.experiments import run_experiments

    (tmp_path / "my projèct").mkdir()
    monkeypatch.chdir(tmp_path / "my projèct")
    with pytest.raises(UsdError, match=r"/my projèct: DVC runs no experiment .*; move the project to one of ASCII"):
        run_experiments([{"train.rate": 5}], ["train@a"])
    assert not list(Path.cwd().iterdir())


@pytest.mark.slow
def test_a_grid_of_experiments_is_tabled_and_leaves_the_project_alone(inside: Path) -> None:
    from flows.experiments import ablation

    before = in_project(inside, "git", "status", "--short")
    state = run(ablation, grid={"train.rate": [0, 10]}, targets=["train@a"])  # the first divides by zero
    assert state.is_failed()
    failed, second = sorted(tasks_of(state, 2))
    assert f"{failed}: exit status 1: " in state.message
    assert "ZeroDivisionError" in state.message
    rows = {row["value"]: row for row in artifact("experiments")}
    assert rows["train.rate"] == {"value": "train.rate", "project": 2, second: 10}
    loss = rows["results/a/metrics.json: loss"]
    assert (loss["project"], loss[second]) == (0.5, 0.1)
    assert not [name for name in rows if "results/b" in name]  # train@b was not run
    assert in_project(inside, "git", "status", "--short") == before


@pytest.mark.slow
def test_a_training_with_overrides_is_an_experiment_and_leaves_the_project_alone(inside: Path) -> None:
    from prefect.deployments import run_deployment

    before = in_project(inside, "git", "status", "--short")
    parameters = {"variant": "a", "overrides": {"train": {"rate": 8}}}
    assert run_deployment("train/on-demand", parameters=parameters, timeout=180).state.is_completed()
    rate = {row["value"]: row for row in artifact("experiments")}["train.rate"]
    assert rate["project"] == 2
    assert 8 in rate.values()  # the experiment's
    assert in_project(inside, "git", "status", "--short") == before

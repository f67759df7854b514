"""Other parameters, as DVC experiments."""

import re
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from tests.flows.project import artifact, in_project, run, tasks_of
from usd.errors import UsdError


@pytest.mark.parametrize("name", ["my projèct", "feature%2Fx", "a#b", "a?b"])
def test_a_path_that_dvc_cannot_write_is_named_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.experiments import run_experiments

    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(UsdError, match=rf"/{re.escape(name)}: DVC runs no experiment .*; move the project to one of A"):
        run_experiments([{"train.rate": 5}], ["train@a"])
    assert not list(Path.cwd().iterdir())


NEAREST = "unknown key; the nearest ones in params.yaml are train.rate"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train.ratee": 5}, f"train.ratee: {NEAREST}"),
        ({"train": 5}, f"train: {NEAREST}"),
        ({"train": {"ratee": 5}}, f"train.ratee: {NEAREST}"),
        ({"train.rate": 3, "train": {"rate": 4}}, "train.rate: given twice, also by a mapping; keep one"),
    ],
)
def test_a_wrong_parameter_is_named_before_any_work(
    settings: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.experiments import run_experiments

    (tmp_path / "params.yaml").write_text("train: {rate: 2}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsdError, match=f"^{message}$"):
        run_experiments([{"train.rate": 5}, settings], ["train@a"])


VALUES = ["fünf", "a\\b", 'say "a"', 'a\\"b', "a\\", "", "no", "5", "a=b, c", 1e-5, 5, None, True, [1, "é\\"], []]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_arrives_as_it_is(value: Any, tmp_path: Path) -> None:
    from flows.experiments import spelled

    (tmp_path / "params.yaml").write_text("train: {rate: 2}\n")
    apply_overrides(tmp_path / "params.yaml", [f"train.rate={spelled(value)}"])
    assert YAML(typ="safe").load(tmp_path / "params.yaml") == {"train": {"rate": value}}


@pytest.mark.slow
def test_a_grid_of_experiments_is_tabled_and_leaves_the_project_alone(inside: Path) -> None:
    from flows.experiments import sweep

    before = in_project(inside, "git", "status", "--short")
    state = run(sweep, grid={"train.rate": [0, 10]}, targets=["train@a"])  # the first divides by zero
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

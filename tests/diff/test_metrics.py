"""Metrics against the noise between seeds."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.main import get_command

from tests.diff.project import METRICS, Project, retrained, set_rmse
from usd.cli import app
from usd.diff.metrics import MetricChange, MetricsPart
from usd.diff.revision import find
from usd.diff.scores import MEAN, Noise, numbers, read_metrics

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("rmse", "verdict", "code"), [(0.103, "worse", 1), (0.102, "within noise", 0), (0.097, "better", 0)]
)
def test_metrics_are_judged_against_the_noise(project: Project, rmse: float, verdict: str, code: int) -> None:
    project.edit(METRICS, set_rmse(rmse))
    project.commit()
    text = project.review()
    assert f"metrics: 4 {verdict}" in text.splitlines()[0]
    row = "| `us_diffusion` | `mean of the trained tasks` | `rmse` | lower |"
    told = "**worse**" if verdict == "worse" else verdict
    assert f"{row} 0.1 | {rmse:g} | {rmse - 0.1:+.4g} | 0.002 | {told} |" in text
    assert project.run("base", "--fail-on-regression").exit_code == code
    assert project.run("base").exit_code == 0
    assert bool(project.regressions()) == bool(code)


def test_a_metric_of_all_tasks_together_is_judged_and_named(project: Project) -> None:
    project.edit(METRICS, lambda found: found.update(obeys=0.95))
    project.commit()
    project.git("tag", "--force", "base")
    project.edit(METRICS, lambda found: found.update(obeys=0.5))
    project.commit()
    assert project.regressions() == ["us_diffusion: obeys 0.95 → 0.5"]


def test_another_seed_is_no_regression_and_a_mended_metric_a_gain(project: Project) -> None:
    project.edit(METRICS, lambda found: found.update(retrained("us_diffusion", 2)))
    project.commit()
    assert project.regressions() == []
    assert "within noise" in project.review().splitlines()[0]
    project.edit(METRICS, lambda found: found["image2map"]["seg"].update(rmse=float("nan")))
    project.commit()
    assert "us_diffusion, image2seg: rmse 0.1 → nan" in project.regressions()
    project.git("tag", "--force", "base")
    project.edit(METRICS, lambda found: found["image2map"]["seg"].update(rmse=0.1))
    project.commit()
    assert project.regressions() == []


def test_a_metric_without_noise_of_its_own_gets_the_widest_share(project: Project) -> None:
    def change(share: float) -> Callable[[Any], None]:
        return lambda found: found["map2image"]["hed"].update(kid=0.5 * (1 + share), swapped_pair_change=0.2)

    project.edit(METRICS, change(0.019))  # the widest range of a mean is 0.2 of 10.1
    project.commit()
    assert project.regressions() == []
    assert "0.5095 | +0.0095 | 0.0099 | within noise |" in project.review()
    assert "| `swapped_pair_change` | higher | 0.1 | 0.2 | +0.1 | 0.00198 | better |" in project.review()
    project.edit(METRICS, change(0.021))
    project.commit()
    assert project.regressions() == ["us_diffusion, hed2image: kid 0.5 → 0.5105"]


def test_without_a_study_every_change_counts(project: Project) -> None:
    project.git("rm", "--quiet", "results/study/study.json")
    project.commit()
    project.git("tag", "--force", "base")
    project.edit(METRICS, lambda found: found["image2map"]["seg"].update(rmse=0.10001))
    project.commit()
    assert project.regressions() == ["us_diffusion, image2seg: rmse 0.1 → 0.10001"]
    assert "the noise is not known and every change counts" in project.review()


def test_the_baselines_metrics_are_told_but_are_not_regressions(project: Project) -> None:
    project.edit("results/prompt_diffusion/metrics.json", set_rmse(0.3))
    project.commit()
    assert project.regressions() == []
    text = project.review()
    assert r"metrics: prompt\_diffusion: 4 worse" in text.splitlines()[0]
    assert "<summary>Worse and better: prompt_diffusion, the baseline</summary>" in text


@pytest.mark.parametrize("variant", ["us_diffusion", "reference", "annotators", "of_mine"])
def test_every_metric_but_the_baselines_can_be_a_regression(variant: str) -> None:
    change = MetricChange(variant, "", "depth_rmse", 0.1, 0.2, None)
    assert MetricsPart([change], {}, Noise({}, None, 0)).regressions == [f"{variant}: depth_rmse 0.1 → 0.2"]
    shown = " ".join(get_command(app).commands["diff"].help.split())  # type: ignore[attr-defined]
    assert "a metric, except the baseline's, that got worse" in shown


def test_the_noise_is_the_range_over_all_seeds_of_the_study(project: Project) -> None:
    rows = [
        {"variant": "us_diffusion", "seed": seed, "direction": "image2map", "task": task, "rmse": 0.1 + 0.002 * seed}
        | {"steps": steps, "nfe": steps, "guidance": 1.0}
        for seed in range(3)
        for task in ("depth", "hed", "seg")
        for steps in (1, 10)
    ]
    project.write("results/study/study.json", json.dumps({"rows": rows}))
    project.edit(METRICS, set_rmse(0.104))
    project.commit()
    assert project.regressions() == []
    assert "Noise is the range over 3 runs with other seeds" in project.review()
    project.edit(METRICS, set_rmse(0.1041))
    project.commit()
    assert len(project.regressions()) == 4


def test_a_run_that_diverged_is_no_noise(project: Project) -> None:
    def diverge(found: Any) -> None:
        for row in found["rows"]:
            row |= {"rmse": float("inf")} if row["seed"] == 1 and "rmse" in row else {}

    project.edit("results/study/study.json", diverge)
    project.edit(METRICS, set_rmse(0.2))
    project.commit()
    assert len(project.regressions()) == 4


def test_metrics_of_a_folder_below_another_are_read_as_well(project: Project) -> None:
    for path, value in (("results/us_diffusion/metrics.json", 0.3), ("results/us_diffusion/more/metrics.json", 0.1)):
        project.write(path, f'{{"rmse": {value}}}')
    found = read_metrics(find("workspace", project.root))
    assert (found["us_diffusion", "", "rmse"], found["us_diffusion/more", "", "rmse"]) == (0.3, 0.1)


def test_the_mean_is_the_gates() -> None:
    scores = numbers("us_diffusion", {"map2image": {"depth": {"fd": 2.0}, "seg": {"fd": 5.0}, "hed": {}}})
    assert scores["us_diffusion", MEAN, "fd"] == 3.5

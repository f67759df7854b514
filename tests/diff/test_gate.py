"""Checks of the gate that newly fail or are gone."""

from typing import Any

import pytest

from tests.diff.project import METRICS, SUMMARY, Project

pytestmark = pytest.mark.slow


def test_a_check_that_newly_fails_is_a_regression(project: Project) -> None:
    project.edit("params.yaml", lambda params: params["gate"].update(speedup=9.5))
    project.commit()
    name = "end-to-end speedup of ESS over the baseline's DDIM steps, both without guidance"
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


BENCHMARK = "results/benchmark.json"


@pytest.mark.parametrize(
    ("path", "values", "why"),
    [
        (METRICS, {"paper": {}}, "lacks a row of both directions below the key paper"),
        ("results/prompt_diffusion/metrics.json", {"paper": {"x": {}}}, "lacks a row of both directions"),
        (METRICS, {"image2map": {}, "map2image": {}}, "lacks a metric that the gate needs"),
        (BENCHMARK, {"speedup_end_to_end": None}, "lacks a number at the key speedup_end_to_end"),
        (BENCHMARK, {"speedup_end_to_end": 10**400}, "lacks a number at the key speedup_end_to_end"),
    ],
)
def test_what_the_gate_lacks_is_told_with_its_file(project: Project, path: str, values: Any, why: str) -> None:
    project.edit(path, lambda found: found.update(values))
    project.commit()
    assert project.regressions()[-1].startswith(f"the gate can no longer be judged: {path} {why}")
    assert "At HEAD (" in project.review()


def test_a_value_that_is_nan_at_both_revisions_is_no_change(project: Project) -> None:
    project.edit(METRICS, lambda found: found["image2map"]["seg"].update(floor_ratio=float("nan")))
    project.edit(SUMMARY, lambda found: found["splits"]["val"]["statistics"]["depth"].update(mean=float("nan")))
    project.edit("params.yaml", lambda params: params["annotate"].update(note=float("nan")))
    project.commit()
    project.git("tag", "--force", "base")
    project.write(METRICS, (project.root / METRICS).read_text() + "\n")
    project.write(SUMMARY, (project.root / SUMMARY).read_text() + "\n")
    project.write("params.yaml", (project.root / "params.yaml").read_text() + "\n")
    project.commit()
    assert project.compared("base", "HEAD").changed == {}

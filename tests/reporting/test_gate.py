"""The gate: which checks decide, on which side they fail, and that targets decide nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from usd import config
from usd.config.training import OURS
from usd.errors import UsdError
from usd.evaluation.bootstrap import Interval
from usd.reporting.comparison import Comparison, verdict
from usd.reporting.gate import Check, judge
from usd.reporting.targets import targets
from usd.stages import gate

pytestmark = pytest.mark.slow  # evaluates both variants first

GATE = config.load(ROOT / "params.yaml").gate


@pytest.fixture
def project(evaluated: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the results that may be changed, and parameters that untrained models pass."""
    shutil.copytree(evaluated, tmp_path / "results")
    shutil.copy(tiny / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_check_fails_on_the_wrong_side_and_on_nan() -> None:
    assert Check("a", 1.0, least=1.0).passed
    assert not Check("a", 0.9, least=1.0).passed
    assert not Check("a", float("nan"), most=1.0).passed


def test_no_bound_is_looser_than_it_was_first_set() -> None:
    """Whoever is measured by a bound does not loosen it; a missed one stays, and is reported as missed."""
    assert (GATE.rmse_gain, GATE.fd_gain, GATE.adherence_gain) >= (0.026, 0.0, 0.0)
    assert min(GATE.fd_gain, GATE.adherence_gain) >= 0.0
    assert GATE.floor_ratio <= 0.75
    assert GATE.speedup >= 9.45
    assert GATE.swapped_change >= 0.02
    assert GATE.obeys >= 0.9


def test_one_task_that_ignores_the_pair_fails_the_gate(evaluated: Path) -> None:
    metrics = Comparison.read(evaluated).metrics
    tasks = [scores for direction in ("image2map", "map2image") for scores in metrics[OURS][direction].values()]
    for change, passed in ((0.02, True), (0.019, False)):
        for scores in tasks:
            scores["swapped_pair_change"] = 0.08
        tasks[-1]["swapped_pair_change"] = change
        checks = judge(metrics, {"speedup_end_to_end": 9.85}, GATE)
        assert next(check for check in checks if "change of the output" in check.name).passed == passed
    for share, passed in ((0.9, True), (0.89, False)):
        metrics[OURS]["obeys"] = share
        checks = judge(metrics, {"speedup_end_to_end": 9.85}, GATE)
        assert next(check for check in checks if "obey the pair" in check.name).passed == passed


def test_the_gains_are_those_of_the_papers_row(evaluated: Path) -> None:
    metrics = Comparison.read(evaluated).metrics
    for name, error in (("prompt_diffusion", 0.2), (OURS, 0.1)):
        (row,) = metrics[name]["paper"].values()
        for scores in row["image2map"].values():
            scores["rmse"] = error
    gain = next(check for check in judge(metrics, {"speedup_end_to_end": 9.85}, GATE) if "RMSE" in check.name)
    assert gain.value == pytest.approx(0.1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsdError, match=r"prompt_diffusion/metrics\.json: not found; run the stage that makes it"):
        Comparison.read(tmp_path)


def test_a_red_gate_says_in_one_line_what_failed_and_shows_its_tables(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate.main(Path("results"), Path("results/gate.json"))
    assert set(json.loads(Path("results/gate.json").read_text()).values()) == {"passed"}
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["gate"]["floor_ratio"] = 0.0001
    Path("params.yaml").write_text(yaml.safe_dump(params))
    with pytest.raises(UsdError) as failure:
        gate.main(Path("results"), Path("results/gate.json"))
    assert "3 of 9 checks failed: depth RMSE / floor is" in str(failure.value)
    assert "\n" not in str(failure.value)
    assert "results/report.html" in capsys.readouterr().out
    assert "failed" in Path("results/gate.json").read_text()


def test_missed_targets_are_reported_and_decide_nothing(project: Path) -> None:
    found = targets(Comparison.read(Path("results")), GATE)
    assert any(not target.met for target in found)
    assert any("base alone" in target.name and target.wanted == "6 of 6 tasks" for target in found)
    gate.main(Path("results"), Path("results/gate.json"))


def test_a_target_is_met_exactly_at_its_bound(project: Path) -> None:
    results = Comparison.read(Path("results"))
    ratio = results.ours.metrics["image2map"]["depth"]["floor_ratio"]
    for bound, met in ((ratio, True), (ratio - 1e-6, False)):
        found = targets(results, replace(GATE, target_depth=bound))
        assert next(each for each in found if each.name.startswith("depth")).met == met


@pytest.mark.parametrize(
    ("low", "high", "said"), [(-2, -1, "better"), (-1, 1, "no difference"), (1, 2, "worse"), (-1, 0, "no difference")]
)
def test_better_means_that_the_interval_excludes_zero(low: float, high: float, said: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high)) == said

"""The report, made of a real evaluation of untrained variants."""

import base64
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from usd.config.training import OURS, VARIANTS
from usd.errors import UsdError
from usd.evaluation.names import CONTROL_ALONE
from usd.reporting.comparison import Comparison
from usd.stages import report
from usd.tasks import TASKS

pytestmark = pytest.mark.slow  # evaluates both variants first

SAME = (Path("models/annotators"), Path("models/annotators"))


@pytest.fixture
def results(evaluated: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the results, in a project folder."""
    shutil.copytree(evaluated, tmp_path / "results")
    shutil.copy(tiny / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return Path("results")


def test_the_report_says_what_its_numbers_are(results: Path) -> None:
    report.main(results, *SAME)
    text = (results / "report.md").read_text()
    for words in ("EfficientNet-Lite0", "paired bootstrap", "the annotators that FAL trains against", "0.02 to 0.01"):
        assert words in text
    for row in ("base alone", "mean map", "copy of the query", "blurred truth", "other real images"):
        assert row in text
    assert "| paper's row: RMSE" in text
    assert "nan" not in re.sub(r"\(.*?\)", "", text)
    report.main(results, Path("models/annotators"), Path("models/judges"))
    assert "independent annotators that no training has seen" in (results / "report.md").read_text()


def test_the_page_is_one_small_file(results: Path) -> None:
    report.main(results, *SAME)
    html = (results / "report.html").read_text()
    assert len(html) < 350_000
    assert 'src="data:image/webp' in html
    assert not re.search(r'src="(?!data:)', html)
    plots = {base64.b64decode(plot) for plot in re.findall(r'src="data:image/png;base64,([^"]+)', html)}
    assert plots == {(results / name).read_bytes() for name in ("curves.png", "quality.png", "study/quality.png")}


def test_a_difference_in_the_report_is_that_of_the_tables(results: Path) -> None:
    found = Comparison.read(results)
    ours, theirs = (pd.read_csv(results / name / "curve.csv") for name in (OURS, "prompt_diffusion"))

    def mean(table: pd.DataFrame) -> float:
        return float(table[(table["row"] == "2") & (table["direction"] == "image2map")]["rmse"].mean())

    between = found.between("2", "image2map", "rmse")
    assert between is not None
    assert between.delta == pytest.approx(mean(ours) - mean(theirs), abs=1e-5)
    assert between.low <= between.delta <= between.high


def test_the_best_trivial_answer_is_the_one_with_the_least_error(results: Path) -> None:
    rows = json.loads((results / "yardsticks/yardsticks.json").read_text())
    rmse = {row["name"]: row["rmse"] for row in rows if row["task"] == "image2outpaint"}
    name, least = Comparison.read(results).best_trivial("image2outpaint")
    assert (name, least) == min(rmse.items(), key=lambda pair: pair[1])


def test_a_variant_without_sga_is_reported_too(results: Path) -> None:
    path = results / OURS / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["indicator_accuracy"]
    path.write_text(json.dumps(metrics))
    report.main(results, *SAME)
    assert "## Indicator" not in (results / "report.md").read_text()


def test_a_start_without_adapter_has_no_row(results: Path) -> None:
    """As stage `yardsticks` leaves it out where `train.warm_start` is a ControlNet or models/no_start."""
    path = results / "yardsticks/yardsticks.json"
    path.write_text(json.dumps([row for row in json.loads(path.read_text()) if row["name"] != CONTROL_ALONE]))
    report.main(results, *SAME)
    text = (results / "report.md").read_text()
    assert f"| {CONTROL_ALONE}" not in text
    assert "US-Diffusion − base alone [95 %]" in text


def test_the_report_has_the_studys_first_table_and_a_link_to_the_rest(results: Path) -> None:
    page = results / "study/study.md"
    page.write_text("# The study\n\n| row |\n| --- |\n| paper |\n\n## More\n\n| row |\n| --- |\n| 9 |\n")
    report.main(results, *SAME)
    text = (results / "report.md").read_text()
    assert "](study/study.md)" in text
    assert "\n\n| row |\n| --- |\n| paper |\n\n!" in text
    assert "| 9 |" not in text
    page.write_text("# The study\n")
    with pytest.raises(UsdError, match=r"study\.md: has no table"):
        report.main(results, *SAME)


def test_every_grid_is_shown(results: Path) -> None:
    report.main(results, *SAME)
    text = (results / "report.md").read_text()
    grids = {path.relative_to(results).as_posix() for name in VARIANTS for path in (results / name).glob("*.png")}
    assert len(grids) == 2 * len(TASKS)
    assert grids <= set(re.findall(r"\]\(([^)]+)\)", text))

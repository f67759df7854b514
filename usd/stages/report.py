"""Stage `report`: both variants side by side, against the paper's claims, as Markdown and self-contained HTML."""

from pathlib import Path

from usd import config
from usd.config.training import BASELINE, OURS
from usd.files import atomic_write
from usd.reporting.comparison import Comparison
from usd.reporting.page import page
from usd.reporting.plots import draw_quality, draw_training
from usd.reporting.report import report_markdown, study_table
from usd.stages import run


def main(results: Path, annotators: Path, judges: Path) -> None:
    """Write RESULTS/report.md and RESULTS/report.html from what RESULTS holds.

    JUDGES have read adherence; they are independent if FAL trained against others, ANNOTATORS.
    """
    params = config.load()
    found = Comparison.read(results)
    draw_training(results / "curves", results / "curves.png")
    draw_quality({BASELINE: [found.baseline.curve], OURS: [found.ours.curve]}, results / "quality.png")
    text = report_markdown(found, params, study_table(results), independent=judges != annotators)
    atomic_write(results / "report.md", text)
    atomic_write(results / "report.html", page(text, results, params.evaluate.grid_items))


if __name__ == "__main__":
    run(main)

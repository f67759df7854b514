"""Stage `report`: both variants side by side, against the paper's claims, as Markdown and self-contained HTML."""

from pathlib import Path

import mistune

from usd import config
from usd.evaluation.gate import VARIANTS, judge_quality, read_metrics
from usd.evaluation.report import STYLE, TEMPLATE, _read, claims, draw_curves, embed, indicator, tables
from usd.files import atomic_write
from usd.stages import run
from usd.tasks import MAPS, TRAINED


def main(results: Path) -> None:
    """Write RESULTS/report.md and RESULTS/report.html from the metrics, grids and curves in RESULTS."""
    metrics = read_metrics(results)
    draw_curves(results / "curves", results / "curves.png")
    text = TEMPLATE.render(
        variants=VARIANTS,
        metrics=metrics,
        claims=claims(metrics),
        tables=tables(metrics),
        indicator=indicator(metrics["us_diffusion"]),
        checks=judge_quality(metrics, config.load().gate),
        ablation=_read(results / "ablation" / "table.md"),
        pictures=[task.name for task in TRAINED] + [f"image2{name}" for name, m in MAPS.items() if not m.trained],
    )
    atomic_write(results / "report.md", text)
    atomic_write(results / "report.html", STYLE + embed(str(mistune.create_markdown(plugins=["table"])(text)), results))


if __name__ == "__main__":
    run(main)

"""Writes the tables of results in README.md and docs/study.md from the files in results/: `python -m docs.results`."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import typer

from usd import config
from usd.config.training import OURS, VARIANTS
from usd.evaluation.files import read_results
from usd.evaluation.names import BASE_ALONE, CONTROL_ALONE
from usd.reporting.comparison import METRICS, Comparison, interval_text
from usd.reporting.words import named
from usd.tasks import DIRECTIONS, TASKS, TRAINED

ROOT = Path(__file__).parent.parent
LONGER = ("reference_baseline", "reference")  # both variants in the training of the model that comes with the project
ROWS = {"paper": "100 DDIM steps against ESS-10", "chosen": "as validation chose, 400 items"}
BEGIN, END = "<!-- results: python -m docs.results -->\n", "<!-- end -->"


def _read(root: Path, path: str) -> Any:
    return json.loads((root / "results" / path).read_text())


def _alone(root: Path, name: str) -> dict[str, Any]:
    """A yardstick's scores on the trained tasks, arranged as a variant's."""
    found: dict[str, Any] = {}
    for row in _read(root, "yardsticks/yardsticks.json"):
        if row["name"] == name and row["task"] in TASKS and TASKS[row["task"]].map.trained:
            task = TASKS[row["task"]]
            found.setdefault(task.direction, {})[task.map.name] = row
    return found


def table(root: Path = ROOT) -> str:
    """The headline of both variants, of both after the longer training, and where the numbers come from."""
    columns = {name: _read(root, f"{name}/metrics.json") for name in (*VARIANTS, *LONGER)}
    benchmark = _read(root, "benchmark.json")
    ours = columns[OURS]
    items = read_results(root / "results" / OURS).curve.groupby("row")["items"].max()
    papers = [read_results(root / "results" / name).curve.query("row == 'paper'") for name in VARIANTS]

    def row(what: str, values: Iterable[str]) -> str:
        return f"| {what} | {' | '.join(values)} |\n"

    def means(what: str, form: str, direction: str, name: str) -> str:
        scores = [each[direction].values() for each in columns.values()]
        return row(what, (format(fmean(score[name] for score in each), form) for each in scores))

    def steps(metrics: Any) -> str:
        return " / ".join(str(metrics["sampling"][direction]["steps"]) for direction in DIRECTIONS)

    params = config.load(root / "params.yaml")
    reference, ddim = params.reference, params.evaluate.baseline_steps
    longer = f"{reference.steps} steps of {reference.batch_size * len(TRAINED)} items"
    trained = ["Prompt Diffusion (baseline)", "US-Diffusion", *(f"{named(name)}, {longer}" for name in VARIANTS)]
    heads = [*trained, "control branch alone", "base alone"]
    lines = (
        row(f"test split, {items['chosen']} items of each task unless stated", heads)
        + "|---" * (len(heads) + 1)
        + "|\n"
    )
    lines += row("steps, image → map / map → image", [*map(steps, columns.values()), "chosen the same way", "1 / 1"])
    obeyed = [format(each["obeys"], ".0%") for each in columns.values()]
    lines += row(
        f"share of {items['paper']} items that obey the example pair, in the worst task",
        [*obeyed, "sees no pair", "sees no pair"],
    )
    columns |= {name: _alone(root, name) for name in (CONTROL_ALONE, BASE_ALONE)}
    for name in ours["image2map"]:
        ratios = (format(each["image2map"][name]["floor_ratio"], ".2f") for each in columns.values())
        lines += row(f"{named(name)}: RMSE / RMSE of the mean map", ratios)
    lines += means("mean RMSE, image → map", ".4f", "image2map", "rmse")
    lines += means("mean Fréchet distance, map → image", ".0f", "map2image", "fd")
    lines += means("mean control adherence RMSE, map → image", ".4f", "map2image", "adherence_rmse")
    published = [next(iter(columns[name]["paper"].values())) for name in (*VARIANTS, *LONGER)]
    for direction, metric, form in (("image2map", "rmse", ".4f"), ("map2image", "fd", ".0f")):
        means_of = [format(fmean(each[metric] for each in row_[direction].values()), form) for row_ in published]
        baseline, ours_ = (int(paper[paper["direction"] == direction]["nfe"].max()) for paper in papers)
        what = f"{ddim} DDIM steps ({baseline} evaluations) / ESS-{params.train.ess_steps} ({ours_})"
        lines += row(f"{what}: mean {named(metric)}, {items['paper']} items", [*means_of, "—", "—"])
    counts = [benchmark["variants"][variant]["nfe"] for variant in VARIANTS]
    return (
        f"{lines}\nLower is better, except for the share that obeys. "
        "A Fréchet distance depends on the number of items: compare it within\na row only. "
        f"With {counts[1]} evaluations of the network for each image, US-Diffusion is "
        f"{benchmark['speedup_end_to_end']:.1f} times as fast as the baseline\n"
        f"with {counts[0]} (`results/benchmark.json`, {benchmark['device']}).\n"
    )


def longer_table(root: Path = ROOT) -> str:
    """US-Diffusion − Prompt Diffusion after the longer training, mean over the trained tasks of a direction."""
    baseline, ours = (read_results(root / "results" / name) for name in LONGER)
    both = replace(Comparison.read(root / "results"), baseline=baseline, ours=ours)
    heads = (f"{named(direction)}: {named(metric)}" for direction, metric in METRICS)
    found = f"| evaluations, at most | {' | '.join(heads)} |\n"
    found += "|---" * (len(METRICS) + 1) + "|\n"
    for name in (*map(str, both.budgets), "paper", "chosen"):
        cells = (interval_text(both.between(name, direction, metric)) for direction, metric in METRICS)
        found += f"| {ROWS.get(name, name)} | {' | '.join(cells)} |\n"
    return found


def main() -> None:
    """Write both tables."""
    for name, found in (("README.md", table()), ("docs/study.md", longer_table())):
        page = ROOT / name
        before, rest = page.read_text().split(BEGIN)
        page.write_text(before + BEGIN + found + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    typer.run(main)

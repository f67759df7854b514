"""Writes the README's table of results from the files in results/: `python -m docs.results`."""

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import typer

from usd.evaluation.names import named
from usd.evaluation.references import BASE_ALONE
from usd.tasks import DIRECTIONS, TASKS

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results: python -m docs.results -->\n", "<!-- end -->"
VARIANTS = ("prompt_diffusion", "us_diffusion")


def _read(path: str) -> Any:
    return json.loads((ROOT / "results" / path).read_text())


def _base_alone() -> dict[str, Any]:
    """The untouched base's scores on the trained tasks, arranged as a variant's; empty before they are measured."""
    path = ROOT / "results/references/references.json"
    found: dict[str, Any] = {}
    for row in json.loads(path.read_text()) if path.exists() else []:
        if row["name"] == BASE_ALONE and TASKS[row["task"]].map.trained:
            task = TASKS[row["task"]]
            found.setdefault(task.direction, {})[task.map.name] = row
    return found


def table() -> str:
    """The headline of both variants, and where the numbers come from."""
    columns = {variant: _read(f"{variant}/metrics.json") for variant in VARIANTS}
    benchmark = _read("benchmark.json")
    ours = columns["us_diffusion"]
    alone = _base_alone()

    def row(what: str, values: Iterable[str]) -> str:
        return f"| {what} | {' | '.join(values)} |\n"

    def means(what: str, form: str, direction: str, name: str) -> str:
        scores = [each[direction].values() for each in columns.values()]
        return row(what, (format(fmean(score[name] for score in each), form) for each in scores))

    def steps(metrics: Any) -> str:
        return " / ".join(str(metrics["sampling"][direction]["steps"]) for direction in DIRECTIONS)

    heads = ["Prompt Diffusion (baseline)", "US-Diffusion"] + ["the base alone"] * bool(alone)
    lines = row("test split", heads) + "|---" * (len(heads) + 1) + "|\n"
    lines += row("steps, image → map / map → image", [*map(steps, columns.values())] + ["1 / 1"] * bool(alone))
    columns |= {"base alone": alone} if alone else {}
    for name in ours["image2map"]:
        ratios = (format(each["image2map"][name]["floor_ratio"], ".2f") for each in columns.values())
        lines += row(f"{named(name)}: RMSE / RMSE of the mean map", ratios)
    lines += means("mean RMSE, image → map", ".4f", "image2map", "rmse")
    lines += means("mean Fréchet distance, map → image", ".0f", "map2image", "fd")
    lines += means("mean control adherence RMSE, map → image", ".4f", "map2image", "adherence_rmse")
    counts = [benchmark["variants"][variant]["nfe"] for variant in VARIANTS]
    return (
        f"{lines}\nFrom `results/*/metrics.json`{' and `results/references/references.json`' * bool(alone)}. "
        "Lower is better.\n"
        f"With {counts[1]} evaluations of the network for each image, US-Diffusion is "
        f"{benchmark['speedup_end_to_end']:.1f} times as fast as the baseline with\n{counts[0]} "
        f"(`results/benchmark.json`, {benchmark['device']}).\n"
    )


def main() -> None:
    """Write the table into README.md."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(before + BEGIN + table() + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    typer.run(main)

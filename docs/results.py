"""Writes the README's table of results from the files in results/: `python -m docs.results`."""

import json
from pathlib import Path
from typing import Any

import typer

from usd.tasks import MAPS

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results: python -m docs.results -->\n", "<!-- end -->"
VARIANTS = ("prompt_diffusion", "us_diffusion")


def _read(path: str) -> Any:
    return json.loads((ROOT / "results" / path).read_text())


def _mean(metrics: dict[str, dict[str, float]], name: str) -> float:
    return sum(each[name] for each in metrics.values()) / len(metrics)


def table() -> str:
    """The headline of both variants, and where the numbers come from."""
    found = {variant: _read(f"{variant}/metrics.json") for variant in VARIANTS}
    benchmark = _read("benchmark.json")

    def row(what: str, *cells: str) -> str:
        return f"| {what} | {' | '.join(cells)} |\n"

    def each(what: str, form: str, direction: str, name: str) -> str:
        return row(what, *(format(_mean(metrics[direction], name), form) for metrics in found.values()))

    def steps(metrics: Any) -> str:
        chosen = metrics["sampling"]
        return f"{chosen['image2map']['steps']} / {chosen['map2image']['steps']}"

    lines = row("test split", "Prompt Diffusion (baseline)", "US-Diffusion") + "|---|---|---|\n"
    lines += row("steps, image → map / map → image", *map(steps, found.values()))
    for name in found["us_diffusion"]["image2map"]:
        ratios = (format(metrics["image2map"][name]["floor_ratio"], ".2f") for metrics in found.values())
        lines += row(f"{MAPS[name].prompt}: RMSE / RMSE of the mean map", *ratios)
    lines += each("mean RMSE, image → map", ".4f", "image2map", "rmse")
    lines += each("mean Fréchet distance, map → image", ".0f", "map2image", "fd")
    lines += each("mean control adherence RMSE, map → image", ".4f", "map2image", "adherence_rmse")
    fast, steps_of = benchmark["speedup_end_to_end"], benchmark["variants"]
    counts = [f"{steps_of[variant]['timesteps']} steps" for variant in VARIANTS]
    lines += row("speed at the paper's step counts", f"1 × ({counts[0]})", f"{fast:.1f} × ({counts[1]})")
    source = "From `results/*/metrics.json` and `results/benchmark.json`, measured on " + benchmark["device"]
    return f"{lines}\n{source}. Lower is better, except for the speed.\n"


def main() -> None:
    """Write the table into README.md."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(before + BEGIN + table() + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    typer.run(main)

"""Plots of the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import PIL.Image

from usd.config.training import VARIANTS
from usd.reporting.comparison import METRICS
from usd.reporting.words import VARIANT_NAMES, named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {variant: f"C{place}" for place, variant in enumerate(VARIANT_NAMES)}  # the same in every plot


@contextmanager
def sheet(path: Path, columns: int) -> Iterator[tuple["Figure", Any]]:
    """A figure with `columns` plots beside each other, written as a PNG of few colours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(4 * columns, 3.2), squeeze=False, layout="constrained")
    yield figure, axes[0]
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    PIL.Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def draw_training(folder: Path, out: Path) -> None:
    """The denoising loss of both variants over the steps; the folder also has the curves of other trainings."""
    with sheet(out, 1) as (figure, (axes,)):
        figure.set_size_inches(8, 3.2)
        for variant in VARIANTS:
            frame = pd.read_csv(folder / f"{variant}.csv")
            smooth = frame["denoising"].rolling(10, min_periods=1).mean()
            axes.plot(frame["step"], smooth, color=COLOURS[variant], label=named(variant))
        axes.set(xlabel="training step", ylabel="denoising loss (mean of 10)", yscale="log")
        axes.legend()


def draw_quality(curves: dict[str, list[pd.DataFrame]], out: Path) -> None:
    """Quality against evaluations: the mean over the trained tasks, a line a variant.

    A variant with curves of several seeds has the mean of them, and their range as a band.
    """
    measured = [(direction, metric) for direction, metric in METRICS if _has(curves, metric)]
    with sheet(out, len(measured)) as (figure, plots):
        for axes, (direction, metric) in zip(plots, measured, strict=True):
            for variant, frames in curves.items():
                table = pd.concat([quality(frame, direction, metric) for frame in frames], axis=1)
                colour = COLOURS.get(variant)  # None: a variant of your own gets the next one
                (line,) = axes.plot(table.index, table.mean(axis=1), marker="o", color=colour, label=named(variant))
                band = table.min(axis=1), table.max(axis=1)
                axes.fill_between(table.index, *band, color=line.get_color(), alpha=0.2, linewidth=0)
            axes.set(xlabel="evaluations of the network", ylabel=named(metric), xscale="log", title=named(direction))
            axes.set_xticks(table.index, [str(count) for count in table.index], minor=False)
            axes.minorticks_off()
        figure.legend(*plots[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(curves))


def quality(curve: pd.DataFrame, direction: str, metric: str) -> "pd.Series[float]":
    """The mean of a metric over the trained tasks, by number of evaluations."""
    rows = curve[curve["row"].str.isdigit() & (curve["direction"] == direction) & curve["trained"]]
    return rows.groupby(rows["row"].astype(int))[metric].mean()


def _has(curves: dict[str, list[pd.DataFrame]], metric: str) -> bool:
    return all(metric in frame for frames in curves.values() for frame in frames)

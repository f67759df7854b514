"""The tables of the report, as Markdown."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from usd.config.training import VARIANTS
from usd.evaluation.bootstrap import Interval
from usd.evaluation.names import BLURRED, HEADLINE, REAL, SETTINGS, TRIVIAL
from usd.reporting.comparison import METRICS, Comparison, interval_text, unseen_tasks, verdict
from usd.reporting.gate import Check
from usd.reporting.targets import Target
from usd.reporting.words import named, number
from usd.tasks import TRAINED

PAPER = {"rmse": "−0.026", "fd": "−7.47 (FID)"}
BOTH = [f"{named(name)} (evaluations)" for name in VARIANTS]  # heads of columns


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; every cell is text already."""
    head = list(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *map(list, rows)])


def differences(results: Comparison, row: str, paper: bool = False) -> list[list[str]]:
    """A line a metric: both variants in one row of the curve, the difference, and what its interval says."""
    lines = []
    for direction, metric in METRICS:
        if (found := results.between(row, direction, metric)) is None:
            continue
        spent = [evaluations(each.curve, row, direction) for each in (results.baseline, results.ours)]
        means = [each.mean(row, direction, metric) for each in (results.baseline, results.ours)]
        cells = [f"{number(value)} ({count})" for value, count in zip(means, spent, strict=True)]
        published = [PAPER.get(metric, "—")] if paper else []
        lines.append([f"{named(direction)}, {named(metric)}", *published, *cells, interval_text(found), verdict(found)])
    return lines


def evaluations(curve: Any, row: str, direction: str) -> str:
    """How many evaluations of the network a row took."""
    table = curve[(curve["row"] == row) & (curve["direction"] == direction) & curve["trained"]]
    return ", ".join(str(count) for count in sorted(set(table["nfe"])))


def paper_table(results: Comparison) -> str:
    """The paper's comparison: the trained ESS list against the baseline's DDIM steps."""
    head = ["mean over the trained tasks", "paper", *BOTH, "difference [95 %]", "US-Diffusion is"]
    return markdown(head, differences(results, "paper", paper=True))


def read_by_networks(results: Comparison) -> str:
    """The paper's row of adherence without edges, and what its interval says; "" if it was not measured."""
    found = results.between("paper", "map2image", "adherence_rmse", without="hed")
    return f"{interval_text(found)} ({verdict(found)})" if found else ""


def matched_table(results: Comparison) -> str:
    """Both variants at equal numbers of evaluations, and as each was chosen on validation."""
    rows = [*map(str, results.budgets), "chosen"]
    lines = [[row, *line] for row in rows for line in differences(results, row)]
    head = ["evaluations", "mean over the trained tasks", *BOTH, "difference [95 %]", "US-Diffusion is"]
    return markdown(head, lines)


def yardstick_table(results: Comparison, direction: str) -> str:
    """Every trained task beside the answers that need no training of a variant."""
    metric = HEADLINE[direction]  # type: ignore[index]
    names = [*results.starts(), *(TRIVIAL if direction == "image2map" else ())]
    lines = []
    for task in TRAINED:
        if task.direction != direction:
            continue
        ours = [each.value("chosen", task.name, metric) for each in (results.baseline, results.ours)]
        others = [results.yardstick(name, task.name, metric) for name in names]
        over = results.over(names[0], task.name, metric)
        lines.append([named(task.name), *map(number, [*ours, *others]), f"{interval_text(over)}: {verdict(over)}"])
    head = [named(metric), *map(named, VARIANTS), *names, f"US-Diffusion − {names[0]} [95 %]"]
    return markdown(head, lines)


def distance_table(results: Comparison) -> str:
    """Fréchet distances of pictures that nobody generated, by number of items."""
    table = results.yardsticks
    counts = sorted({int(items) for items in table[table["task"] == "map2image"]["items"]})
    lines = [[name, *(number(results.distance(name, count), 1) for count in counts)] for name in (REAL, BLURRED)]
    return markdown(["Fréchet distance to the truths", *(f"{count} items" for count in counts)], lines)


def scores_table(results: Comparison, direction: str, trained: bool) -> str:
    """Every metric of every task of a direction, the variants beside each other."""
    by_variant = {
        name: each.metrics[direction] if trained else each.metrics["unseen"][direction]
        for name, each in zip(VARIANTS, (results.baseline, results.ours), strict=True)
    }
    columns = list(dict.fromkeys(key for tasks in by_variant.values() for row in tasks.values() for key in row))
    lines = [
        [named(task), named(variant), *(number(tasks[task].get(column, float("nan"))) for column in columns)]
        for task in by_variant[VARIANTS[0]]
        for variant, tasks in by_variant.items()
    ]
    return markdown(["task", "variant", *map(named, columns)], lines)


def model_scores(metrics: dict[str, Any], items: int) -> str:
    """The main metrics of one model, for its card."""
    names = ("rmse", "floor_ratio", "miou", "fd", "adherence_rmse")
    lines = [
        [named(task.name), named(name), number(metrics[task.direction][task.map.name][name])]
        for task in TRAINED
        for name in names
        if name in metrics[task.direction][task.map.name]
    ]
    told = f"On {items} test items of each task, sampled as by default. FD: features of EfficientNet-Lite0.\n\n"
    return told + markdown(["task", "metric", "value"], lines)


def unseen_table(results: Comparison) -> str:
    """Unseen Image2Map tasks beside every trivial answer."""
    lines = []
    for task in unseen_tasks():
        errors = [each.value("chosen", task, "rmse") for each in (results.baseline, results.ours)]
        errors += [results.yardstick(name, task, "rmse") for name in TRIVIAL]
        lines.append([named(task), *map(number, errors)])
    return markdown(["RMSE", *map(named, VARIANTS), *TRIVIAL], lines)


def context_table(results: Comparison) -> str:
    """How the error changes when the pair or the prompt does."""
    lines = []
    for variant, each in zip(VARIANTS, (results.baseline, results.ours), strict=True):
        for task, found in each.context.items():
            changes = found["error_change"]
            if changes:
                cells = [interval_text(Interval(**changes[name])) for name in SETTINGS]
                lines.append([named(task), named(variant), *cells])
    return markdown(["task", "variant", *map(named, SETTINGS)], lines)


def obeys_table(results: Comparison) -> str:
    """The share of items that come out nearest to the shown task's truth."""
    lines = []
    for variant, each in zip(VARIANTS, (results.baseline, results.ours), strict=True):
        for task in each.context:
            if shares := each.context[task]["obeys"]:
                lines.append([named(task), named(variant), *(f"{share:.0%}" for share in shares.values())])
    return markdown(["task", "variant", "its own pair", "another task's pair"], lines)


def indicator_table(results: Comparison) -> str:
    """Unseen tasks with the indicator inferred from the pair and with the paper's average over the trained tasks."""
    unseen = results.ours.metrics["unseen"]
    lines = []
    for direction, metric in HEADLINE.items():
        scores = list(unseen[direction].values())
        means = [float(np.mean([task[name] for task in scores])) for name in (metric, f"{metric}_averaged")]
        lines.append([f"{named(metric)}, {named(direction)}", *map(number, means)])
    return markdown(["mean over the unseen tasks", "inferred", "averaged"], lines)


def check_table(checks: list[Check]) -> str:
    """The gate, without values that a timing could change."""
    verdicts = [[check.name, check.bound, "passed" if check.passed else "**failed**"] for check in checks]
    return markdown(["check", "bound", "verdict"], verdicts)


def target_table(found: list[Target]) -> str:
    """The targets."""
    lines = [[each.name, each.wanted, each.found, "met" if each.met else "**missed**"] for each in found]
    return markdown(["target", "wanted", "found", "verdict"], lines)

"""The targets of the study: each is reported as met or missed, and none decides an exit code."""

from collections.abc import Iterator
from dataclasses import dataclass

from usd.config import Gate
from usd.evaluation.names import BLURRED, HEADLINE
from usd.reporting.comparison import METRICS, Comparison, interval_text, unseen_tasks
from usd.reporting.words import named, number
from usd.tasks import DIRECTIONS, TRAINED


@dataclass(frozen=True)
class Target:
    """One target, and what was found."""

    name: str
    wanted: str
    found: str
    met: bool


def targets(results: Comparison, gate: Gate) -> list[Target]:
    """All targets in the order of the report."""
    return [
        *_paper_row(results, gate),
        *_matched(results),
        *_over_start(results),
        *_floors(results, gate),
        *_more_evaluations(results),
        _blurred(results, gate),
        *_unseen(results),
        *_pair(results, gate),
    ]


def _paper_row(results: Comparison, gate: Gate) -> Iterator[Target]:
    for (direction, metric), bound in zip(HEADLINE.items(), (-gate.target_rmse_gain, 0.0), strict=True):
        found = results.between("paper", direction, metric)
        met = found is not None and found.is_below_zero and found.delta <= bound
        wanted = f"≤ {number(bound, 3)}, interval below zero" if bound else "interval below zero"
        name = f"paper's row: {named(metric)}, US-Diffusion − Prompt Diffusion"
        yield Target(name, wanted, interval_text(found), met)


def _matched(results: Comparison) -> Iterator[Target]:
    """Better at all numbers of evaluations but one."""
    for direction, metric in METRICS:
        found = [results.between(str(budget), direction, metric) for budget in results.budgets]
        better = [each is not None and each.is_below_zero for each in found]
        wanted = max(1, len(better) - 1)
        told = f"{sum(better)} of {len(better)}"
        name = f"matched evaluations: {named(metric)} better (interval below zero)"
        yield Target(name, f"≥ {wanted} of {len(better)} counts", told, sum(better) >= wanted)


def _over_start(results: Comparison) -> Iterator[Target]:
    for name in reversed(results.starts()):
        better = [results.over(name, task.name, HEADLINE[task.direction]).is_below_zero for task in TRAINED]
        yield Target(
            f"better than the {name} (interval below zero)",
            f"{len(better)} of {len(better)} tasks",
            f"{sum(better)} of {len(better)}",
            all(better),
        )


def _floors(results: Comparison, gate: Gate) -> Iterator[Target]:
    scores = results.ours.metrics["image2map"]
    for name, most in (("depth", gate.target_depth), ("hed", gate.target_edges), ("seg", gate.target_segments)):
        value = scores[name]["floor_ratio"]
        yield Target(f"{named(name)}: {named('floor_ratio')}", f"≤ {most:g}", number(value, 3), value <= most)
    value = scores["seg"]["miou"]
    yield Target("segments: mIoU", f"≥ {gate.target_miou:g}", number(value, 3), value >= gate.target_miou)


def _more_evaluations(results: Comparison) -> Iterator[Target]:
    """The four evaluations of ESS-5 and the nine of ESS-10, or the longest two counts measured, against the fewest."""
    least, *more = results.budgets
    if not more:
        return
    counts = [budget for budget in (4, 9) if budget in more] or more[-2:]
    for direction in DIRECTIONS:
        metric = HEADLINE[direction]
        one, *rest = (results.ours.mean(str(budget), direction, metric) for budget in (least, *counts))
        told = f"{', '.join(number(value) for value in rest)} after {number(one)}"
        name = f"more evaluations never hurt: {named(metric)} at {' and '.join(map(str, counts))} evaluations"
        yield Target(name, f"≤ that at {least}", told, all(value <= one for value in rest))


def _blurred(results: Comparison, gate: Gate) -> Target:
    table = results.ours.curve
    items = int(
        table[(table["row"] == "chosen") & (table["direction"] == "map2image") & table["trained"]]["items"].max()
    )
    share = results.ours.mean("chosen", "map2image", "fd") / results.distance(BLURRED, items)
    name = f"{named('fd')} / that of the {BLURRED} ({items} items)"
    return Target(name, f"≤ {gate.target_blurred:g}", number(share, 2), share <= gate.target_blurred)


def _unseen(results: Comparison) -> Iterator[Target]:
    for task in unseen_tasks():
        ours = results.ours.value("chosen", task, "rmse")
        name, least = results.best_trivial(task)
        wanted = f"< {number(least)} ({name})"
        yield Target(f"unseen, {named(task)}: RMSE below every trivial answer", wanted, number(ours), ours < least)


def _pair(results: Comparison, gate: Gate) -> Iterator[Target]:
    tests = results.ours.context
    for setting in ("black_pair", "foreign_pair"):
        changes = [each["error_change"][setting] for each in tests.values() if setting in each["error_change"]]
        raised = sum(change["low"] > 0 for change in changes)
        name = f"{named(setting)} raises the error (interval above zero)"
        yield Target(
            name, f"{len(changes)} of {len(changes)} tasks", f"{raised} of {len(changes)}", raised == len(changes)
        )
    for setting, words in (
        ("own_pair", "pair obeyed, with an empty prompt"),
        ("foreign_pair", "another task's pair obeyed, with an empty prompt"),
    ):
        shares = [each["obeys"][setting] for each in tests.values() if setting in each["obeys"]]
        told = ", ".join(f"{share:.0%}" for share in shares)
        yield Target(words, f"≥ {gate.target_obeys:.0%} in each task", told, min(shares) >= gate.target_obeys)
    scores = [task for direction in DIRECTIONS for task in results.ours.metrics[direction].values()]
    least = min(task["swapped_pair_change"] for task in scores)
    name = "minimum change of a task's output with another task's pair"
    yield Target(name, f"≥ {gate.target_swapped:g}", number(least), least >= gate.target_swapped)

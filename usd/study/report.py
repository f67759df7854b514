"""The study as one page of Markdown."""

from collections.abc import Iterable
from typing import Any

import jinja2
import numpy as np

from usd.config import Params
from usd.config.training import BASELINE, OURS
from usd.evaluation.bootstrap import Interval
from usd.evaluation.names import BLURRED, HEADLINE, REAL
from usd.reporting.comparison import METRICS, interval_text, verdict
from usd.reporting.tables import evaluations, markdown
from usd.reporting.words import named, number, places
from usd.study.findings import Findings, Quantity, over_trained
from usd.tasks import TASKS, TRAINED

PAGE = jinja2.Template(
    """# The study

{{ runs }} trainings: {{ variants }}, each with the seeds {{ params.seeds | join(", ") }},
{{ params.steps }} steps. Cells are mean ± standard deviation over the seeds. Differences have a 95 % interval
from a paired bootstrap over the test items and the seeds; "better" means that it excludes zero. Every variant has the
same candidates for sampling and chooses on validation; study.json has the choices and the errors of all candidates.
`chosen` is measured on {{ params.items }} test items per task, all other rows on {{ params.curve_items }}. runs.csv has
one line a run, task and way to sample. RMSE, Fréchet distance (EfficientNet-Lite0 features) and adherence are those of
the report.

## The paper's row: ESS-{{ ess_steps }} against {{ baseline_steps }} DDIM steps

{{ paper }}

End-to-end speedup when the study was made, by stage `benchmark`: {{ speedup }} ×.

## At equal numbers of evaluations

{{ matched }}

![quality against evaluations](quality.png)
{% if paper_parts %}
## Without self-estimates

The paper has no self-estimates, and the baseline is not given any. US-Diffusion without them, against the baseline:

{{ paper_parts }}
{% endif %}
## Every variant as chosen

{{ variants_table }}

## Each part removed

One metric each, named before the results. The difference is US-Diffusion − the variant without the part: below zero
means that the part helps.

{{ removals }}
{% if in_full %}
All metrics in the paper's row, for information; there a variant without ESS has {{ baseline_steps }} DDIM steps:

{{ in_full }}
{% endif %}
## Against yardsticks that need no variant

*Control branch alone*: the generic control branch that all variants start from; it is told the task by the prompt and
sees no example pair. *Base alone*: the query as x_t at t = 998, no control branch, adapter or example. *Regression
network*: the same base, trained for as many steps on the same batches to map the query to the target, without noise
or examples; it is told the map by its name.

{{ yardsticks }}

{{ distances }}

## In context

Share of items nearest to the truth of the task that the pair shows; the prompt is empty: {{ obeys }}.

Change of the error with another pair or prompt, one training seed a line:

{{ context }}

Unseen tasks, RMSE:

{{ unseen }}
"""
)

PAPER_PARTS = "no_self_estimates"  # the variant with the three parts of the paper, and no other
REMOVAL = ["variant", "metric", "US-Diffusion", "this variant", "difference [95 %]", "US-Diffusion is"]


def study_markdown(findings: Findings, everything: Params, speedup: float) -> str:
    """study.md."""
    params = everything.study
    everywhere = ["paper", *map(str, params.step_counts), "chosen"]
    page: str = PAGE.render(
        runs=sum(map(len, findings.runs.values())),
        variants=", ".join(map(named, findings.runs)),
        params=params,
        ess_steps=everything.train.ess_steps,
        baseline_steps=everything.evaluate.baseline_steps,
        speedup=speedup,
        paper=compared(findings, ["paper"]),
        matched=compared(findings, everywhere[1:]),
        paper_parts=compared(findings, everywhere, PAPER_PARTS) if PAPER_PARTS in findings.runs else "",
        variants_table=variants_table(findings),
        removals=removals_table(findings),
        in_full=removals_in_full(findings),
        yardsticks=yardsticks_table(findings, params.items),
        distances=distances(findings, params.items),
        obeys=", ".join(f"{named(task)} {share:.0%}" for task, share in findings.obeys().items()),
        context=context_table(findings),
        unseen=unseen_table(findings),
    )
    return page


def spread(values: Iterable[float]) -> str:
    """Mean ± standard deviation over the seeds."""
    numbers = list(values)
    mean = float(np.mean(numbers))
    deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else float("nan")
    return f"{number(mean)} ± {number(deviation, places(mean))}"


def compared(findings: Findings, rows: list[str], ours: str = OURS) -> str:
    """A variant beside the baseline in rows of the curve; seeds that chose differently took several counts."""
    curves, lines = findings.table(), []
    for row in rows:
        for direction, metric in METRICS:
            quantity = over_trained(row, direction, metric, findings.runs[ours][0])
            if not quantity.columns:
                continue
            spent = [evaluations(curves[curves["variant"] == name], row, direction) for name in (BASELINE, ours)]
            means = [spread(map(quantity.value, findings.runs[name])) for name in (BASELINE, ours)]
            cells = [f"{mean} ({count})" for mean, count in zip(means, spent, strict=True)]
            found = findings.difference(quantity, ours)
            lines.append([row, f"{named(direction)}, {named(metric)}", *cells, interval_text(found), verdict(found)])
    heads = [f"{named(name)} (evaluations)" for name in (BASELINE, ours)]
    return markdown(["row", "mean over the trained tasks", *heads, "difference [95 %]", f"{named(ours)} is"], lines)


def variants_table(findings: Findings) -> str:
    """All variants as chosen on validation."""
    quantities = [over_trained("chosen", *pair, findings.runs[OURS][0]) for pair in METRICS]
    lines = [
        [named(name), *(spread(map(each.value, runs)) for each in quantities if each.columns)]
        for name, runs in findings.runs.items()
    ]
    measured = [metric for (_, metric), each in zip(METRICS, quantities, strict=True) if each.columns]
    return markdown(["variant", *map(named, measured)], lines)


def removals_table(findings: Findings) -> str:
    """What each part is worth by its metric; or, where no variant goes without one, that this is not known."""
    found = {name: each for name, each in findings.removals().items() if name in findings.runs and each.columns}
    if not found:
        return f"Not measured: none of {', '.join(findings.removals())} is in `study.variants` of params.yaml."
    return markdown(REMOVAL, [_removal(findings, name, quantity) for name, quantity in found.items()])


def removals_in_full(findings: Findings) -> str:
    """All metrics of the variants without a part, in the paper's row; empty if no variant goes without one."""
    run = findings.runs[OURS][0]
    quantities = [Quantity(named(metric), over_trained("paper", way, metric, run).columns) for way, metric in METRICS]
    there = [name for name in findings.removals() if name in findings.runs]
    lines = [_removal(findings, name, each) for name in there for each in quantities if each.columns]
    return markdown(REMOVAL, lines) if lines else ""


def _removal(findings: Findings, name: str, quantity: Quantity) -> list[str]:
    found: Interval = findings.difference(quantity, OURS, name)
    cells = [spread(map(quantity.value, findings.runs[variant])) for variant in (OURS, name)]
    return [named(name), quantity.name, *cells, interval_text(found), verdict(found)]


def yardsticks_table(findings: Findings, items: int) -> str:
    """Every trained task beside the yardsticks of the same number of items."""
    names = list(dict.fromkeys(str(row["name"]) for row in findings.yardsticks if row["task"] != "map2image"))
    lines = []
    for task in TRAINED:
        metric = HEADLINE[task.direction]
        cells = [
            spread(run.value("chosen", task.name, metric) for run in findings.runs[name]) for name in (BASELINE, OURS)
        ]
        known = {row["name"]: row[metric] for row in findings.yardsticks if row["task"] == task.name}
        lines.append([f"{named(task.name)}, {named(metric)}", *cells, *(number(known.get(n, np.nan)) for n in names)])
    return markdown([f"{items} items", named(BASELINE), named(OURS), *names], lines)


def distances(findings: Findings, items: int) -> str:
    """Fréchet distances of pictures that nobody generated."""
    rows = [row for row in findings.yardsticks if row["task"] == "map2image" and row["items"] == items]
    told = {str(row["name"]): float(row["fd"]) for row in rows}
    parts = [f"{name} {number(told[name], 1)}" for name in (REAL, BLURRED) if name in told]
    return f"Fréchet distances to {items} truths: {', '.join(parts)}."


def context_table(findings: Findings) -> str:
    """The in-context tests of US-Diffusion."""
    lines = []
    for seed, run in zip(findings.seeds, findings.runs[OURS], strict=True):
        for task, found in run.context.items():
            changes: dict[str, Any] = found["error_change"]
            if changes:
                cells = [interval_text(Interval(**change)) for change in changes.values()]
                lines.append([str(seed), named(task), *cells])
    settings = next((list(each["error_change"]) for each in findings.runs[OURS][0].context.values()), [])
    return markdown(["seed", "task", *map(named, settings)], lines)


def unseen_table(findings: Findings) -> str:
    """The unseen Image2Map tasks beside the best trivial answer."""
    lines = [
        [named(TASKS[task].name), number(found["ours"]), number(found["best_trivial"])]
        for task, found in findings.unseen().items()
    ]
    return markdown(["task", named(OURS), "best trivial answer"], lines)

"""The report: both variants side by side, against the paper's claims, the base alone and trivial answers."""

import re
from pathlib import Path
from typing import Any

import jinja2

from usd.config import Params
from usd.config.training import OURS, VARIANTS
from usd.errors import UsdError
from usd.files import read_text
from usd.reporting import tables
from usd.reporting.comparison import Comparison
from usd.reporting.gate import judge_quality
from usd.reporting.targets import targets
from usd.reporting.words import named
from usd.tasks import DIRECTIONS, TASKS

TEMPLATE = jinja2.Template(
    """# US-Diffusion against Prompt Diffusion

Same base, data, training steps, batch and seed. US-Diffusion has SGA, FAL and ESS; Prompt Diffusion has stacked
convolutions, uniform timesteps and no feedback. {% if own_estimates -%}
US-Diffusion is also trained on its own estimates, which is not in the paper and makes its training steps longer:
docs/study.md, "Self-estimates". {% endif -%}
One training run of each: the differences between training seeds are in the [study](#the-study).

**What the numbers are.** Everything is measured on the test split, {{ params.items }} items per trained task,
{{ params.unseen_items }} per unseen task, and {{ params.curve_items }} where the number of evaluations varies, where
the paper's row is taken, and in the in-context tests. RMSE is √(mean over images of per-image MSE), values in
[0, 1]. Fréchet distances are taken on ImageNet features of EfficientNet-Lite0, not Inception, and depend on the number
of items: compare them at equal numbers only. Adherence is the RMSE between the map that was asked for and the one
that {{ judges }}
read off the generated image. A difference is US-Diffusion − Prompt Diffusion, so below zero is better, with its 95 %
interval from a paired bootstrap over the items ({{ params.replicates }} replicates). "Better" means that the interval
excludes zero. The interval does not contain the variation between training seeds.

**What was chosen.** Both variants have the same candidates, {{ candidates }}, tried on {{ params.validation_items }}
validation items per task. A guided timestep takes two evaluations of the network. Errors of all candidates are
in `results/<variant>/metrics.json`, section `sampling`.
{% for name in variants %}
- {{ named(name) }}: {% for direction, how in sampling[name].items() -%}
{{ named(direction) }} (timesteps {{ how.steps }}, guidance {{ how.guidance_scale }}, evaluations {{ how.nfe }})
{{- "; " if not loop.last else "." }}{% endfor %}
{%- endfor %}

## The paper's row

ESS-{{ ess_steps }} (its last timestep, t = 0, is left out) against {{ params.baseline_steps }} DDIM steps,
each with the guidance that validation chose at {{ params.step_counts | max }} timesteps; a guided step takes two
evaluations. Times are in [benchmark.json](benchmark.json); they differ from run to run, so this page has none.

{{ paper }}
{% if networks %}
Edges are read by the operator that defines them, against which FAL trains. Without edges, adherence differs by
{{ networks }}.
{% endif %}
## At equal numbers of evaluations

Within each number of evaluations, each variant has the guidance that validation chose. `chosen` is what validation
chose of all candidates, on all items.

{{ matched }}

![quality against evaluations](quality.png)

## Against yardsticks that need no training of a variant

*Control branch alone*: the generic control branch that both variants start from; it is told the task by the prompt
and sees no example pair. *Base alone*: the frozen base is given the query as x_t at t = 998, with the task named in the
prompt, and no control branch, adapter or example; one evaluation. All others are sampled as validation chose.

{{ yardsticks.image2map }}

{{ yardsticks.map2image }}

Fréchet distances of pictures that nobody generated: other images of the data set, and the truth blurred 8 ×.

{{ distances }}

## Trained tasks
{% for title, table in trained.items() %}
**{{ title }}**

{{ table }}
{% endfor %}
## Does the example pair decide?

Change of the error (RMSE for Image2Map, adherence for Map2Image) when something about the example changes, as sampled
for `chosen`. A black pair or another task's pair should raise it; more pairs should lower it.

{{ context }}

Share of the items whose output is nearer to the truth of the task that the pair shows than to that of any of the other
five maps. Nothing but the pair says which: the prompt is empty.

{{ obeys }}

## Unseen tasks

No map of these was shown in training; an answer that is worse than the best of the trivial ones is not a success.

{{ unseen }}
{% for title, table in unseen_scores.items() %}
**{{ title }}**

{{ table }}
{% endfor %}
{%- if indicator %}
## Indicator

Read off the example pair alone, the indicator names the task of {{ accuracy }} % of the trained tasks' items. On the
unseen tasks, with the indicator inferred from the pair, and with the paper's average over the trained tasks (here those
of the same direction):

{{ indicator }}
{% endif %}
## The study

[Several training seeds](study/study.md) of both variants, and of US-Diffusion without its parts. The paper's row:

{{ study }}

![quality against evaluations, over the seeds](study/quality.png)

## Gate

What one short run can show, and what `dvc repro` fails on. [docs/study.md](../docs/study.md) says why each bound has
its value. One more check, the speedup of ESS without guidance, is in gate.json alone: each measurement finds another.

{{ checks }}

## Targets

What the method should reach, fixed before the results. A missed target stays here as missed. One of them has a history:
`swapped_change` was lowered from 0.02 to 0.01 in the commit after the one whose report failed it, so that the gate
passed; 0.02 is the target again, for every task.

{{ targets }}

## Pictures

Each row: query, example pair, truth and output; for trained tasks also the output if the pair shows another task.
{% for task in pictures %}
### {{ named(task) }}

| Prompt Diffusion | US-Diffusion |
|---|---|
| ![{{ task }}](prompt_diffusion/{{ task }}.png) | ![{{ task }}](us_diffusion/{{ task }}.png) |
{% endfor %}
## Training

![training curves](curves.png)

The levels of the two variants cannot be compared: their losses are taken at other timesteps, and US-Diffusion's mostly
on x_t made of its own estimates. Quality is above.
"""
)
FAL_JUDGES = "the annotators that FAL trains against (so it favours variants with FAL)"
OWN_JUDGES = "independent annotators that no training has seen (edges: by the operator that defines them)"


def report_markdown(results: Comparison, params: Params, study: str, independent: bool) -> str:
    """The report as Markdown; `study` is a table of the study, `independent` says who reads adherence."""
    evaluate = params.evaluate
    titles = {direction: named(direction) for direction in DIRECTIONS}
    text: str = TEMPLATE.render(
        named=named,
        variants=VARIANTS,
        params=evaluate,
        judges=OWN_JUDGES if independent else FAL_JUDGES,
        candidates=f"{_list(evaluate.step_counts)} timesteps with guidance {_list(evaluate.guidance_scales)}",
        sampling={name: each["sampling"] for name, each in results.metrics.items()},
        ess_steps=params.train.ess_steps,
        own_estimates=params.variants[OURS].self_estimates > 0,
        paper=tables.paper_table(results),
        networks=tables.read_by_networks(results),
        matched=tables.matched_table(results),
        yardsticks={direction: tables.yardstick_table(results, direction) for direction in titles},
        distances=tables.distance_table(results),
        trained={title: tables.scores_table(results, key, True) for key, title in titles.items()},
        context=tables.context_table(results),
        obeys=tables.obeys_table(results),
        unseen=tables.unseen_table(results),
        unseen_scores={title: tables.scores_table(results, key, False) for key, title in titles.items()},
        **_indicator(results),
        study=study,
        checks=tables.check_table(judge_quality(results.metrics, params.gate)),
        targets=tables.target_table(targets(results, params.gate)),
        pictures=list(TASKS),
    )
    return text


def _indicator(results: Comparison) -> dict[str, Any]:
    """A variant without SGA has none."""
    accuracy = results.ours.metrics.get("indicator_accuracy")
    if accuracy is None:
        return {"indicator": None}
    return {"indicator": tables.indicator_table(results), "accuracy": f"{100 * accuracy:.1f}"}


def _list(values: list[Any]) -> str:
    *most, last = [f"{value:g}" for value in values]
    return f"{', '.join(most)} or {last}" if most else last


def study_table(results: Path) -> str:
    """The first table of the study's page: the paper's row over several training seeds."""
    path = results / "study" / "study.md"
    found = re.search(r"^\|.*?(?=\n\n|\Z)", read_text(path), re.MULTILINE | re.DOTALL)
    if found is None:
        raise UsdError(f"{path}: has no table; restore it, or run stage study: docs/reproducibility.md, Frozen stages")
    return found[0]

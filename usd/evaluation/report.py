"""The report: both variants side by side, against the paper's claims."""

import base64
import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from usd.evaluation.gate import VARIANTS, mean

TEMPLATE = jinja2.Template(
    """# US-Diffusion against Prompt Diffusion

Same base, data, steps, batch and seeds. US-Diffusion has SGA, FAL and ESS; Prompt Diffusion has stacked
convolutions, uniform timesteps and no feedback. Sampling was chosen on the validation split, except for the number of
the baseline's steps, which is its headline:
{% for name in variants %}
- **{{ name }}**: {% for direction, choice in metrics[name].sampling.items() -%}
{{ direction }} steps {{ choice.steps }}, guidance {{ choice.guidance_scale }}, evaluations {{ choice.nfe }}
{{- "; " if not loop.last else "." }}{% endfor %}
{%- endfor %}

| claim of the paper | there | here | Prompt Diffusion | US-Diffusion |
|---|---|---|---|---|
{% for row in claims -%}
| {{ row.name }} | {{ row.paper }} | {{ row.here }} | {{ row.baseline }} | {{ row.ours }} |
{% endfor %}
The end-to-end speedup and all seconds are in [benchmark.json](benchmark.json), and judged by stage `gate`; they are no
part of this report because they differ from run to run.

## Trained tasks
{% for table in tables %}
**{{ table.title }}**

{{ table.text }}
{% endfor %}
{%- if indicator %}
## Indicator

Read off the example pair alone, it names the task of {{ "%.2f" | format(100 * indicator.accuracy) }} % of the trained
tasks' test items. On the unseen tasks, US-Diffusion with the indicator so inferred, and with the paper's average over
the trained tasks (here those of the same direction):

{{ indicator.table }}
{%- endif %}
## Ablation

SGA, FAL and ESS removed one at a time, and all three (prompt_diffusion), from shorter trainings; every variant chose
its sampling on the validation split.

{{ ablation }}
## Gate

| check | bound | verdict |
|---|---|---|
{% for check in checks -%}
| {{ check.name }} | {{ check.bound }} | {{ "passed" if check.passed else "**failed**" }} |
{% endfor %}
## Pictures

Each row: query, example pair, truth, output, and the output if the pair shows another task.
{% for task in pictures %}
### {{ task }}

| Prompt Diffusion | US-Diffusion |
|---|---|
| ![{{ task }}](prompt_diffusion/{{ task }}.png) | ![{{ task }}](us_diffusion/{{ task }}.png) |
{% endfor %}
## Training

![training curves](curves.png)
"""
)


STYLE = """<meta charset="utf-8"><title>US-Diffusion report</title><style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .7rem;border-bottom:1px solid #ddd;text-align:left}
img{max-width:100%;image-rendering:pixelated}h1,h2,h3{line-height:1.2}</style>"""


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else "Not run yet: `dvc unfreeze ablation && dvc repro ablation`.\n"


def claims(metrics: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """The paper's two claims on quality as differences, US-Diffusion − Prompt Diffusion."""
    rows = [("mean Fréchet distance, Map2Image (FID there)", "−7.47", "map2image", "fd")]
    rows += [("mean RMSE, Image2Map", "−0.026", "image2map", "rmse")]
    rows += [("mean control adherence RMSE, Map2Image", "—", "map2image", "adherence_rmse")]
    result = []
    for name, paper, direction, metric in rows:
        baseline, ours = (mean(metrics[variant], direction, metric) for variant in VARIANTS)
        numbers = {"baseline": baseline, "ours": ours, "here": ours - baseline}
        texts = {key: f"{number:.4f}".replace("-", "−") for key, number in numbers.items()}
        result.append({"name": name, "paper": paper, **texts})
    return result


def tables(metrics: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Every metric of every task, both variants beside each other."""
    result = []
    sections = [("Image2Map", "image2map"), ("Map2Image", "map2image")]
    for title, direction in sections:
        result.append({"title": title, "text": _table({name: metrics[name][direction] for name in VARIANTS})})
    for title, direction in sections:
        by_variant = {name: metrics[name]["unseen"][direction] for name in VARIANTS}
        result.append({"title": f"{title}, unseen tasks", "text": _table(by_variant)})
    for name in VARIANTS:
        for label, scores in metrics[name]["beside"].items():
            for title, direction in sections:
                if direction in scores:
                    text = _table({name: scores[direction]})
                    result.append({"title": f"{title} with {label} timesteps, beside", "text": text})
    return result


def indicator(metrics: dict[str, Any]) -> dict[str, Any] | None:
    """Accuracy on the trained tasks, and a table of the unseen tasks' means with either indicator; None without SGA."""
    if "indicator_accuracy" not in metrics:
        return None
    lines = ["| mean over the unseen tasks | inferred | averaged |", "|---|---|---|"]
    for label, direction, metric in (("RMSE, Image2Map", "image2map", "rmse"), ("FD, Map2Image", "map2image", "fd")):
        means = [mean(metrics["unseen"], direction, name) for name in (metric, f"{metric}_averaged")]
        lines.append(f"| {label} | {' | '.join(f'{value:.4f}' for value in means)} |")
    return {"accuracy": metrics["indicator_accuracy"], "table": "\n".join(lines) + "\n"}


def _table(by_variant: dict[str, dict[str, dict[str, float]]]) -> str:
    rows = [
        {"task": task, "variant": variant, **scores}
        for variant, tasks in by_variant.items()
        for task, scores in tasks.items()
    ]
    frame = pd.DataFrame(rows).sort_values(["task", "variant"])
    cells = [
        ["—" if value != value else f"{value:.4f}" if isinstance(value, float) else str(value) for value in row]
        for row in frame.to_numpy().tolist()
    ]
    head = [str(column).replace("_", " ") for column in frame.columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *cells])


def draw_curves(folder: Path, out: Path) -> None:
    """The denoising loss of every variant over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.2))
    for path in sorted(folder.glob("*.csv")):
        frame = pd.read_csv(path)
        axes.plot(frame["step"], frame["denoising"].rolling(10, min_periods=1).mean(), label=path.stem)
    axes.set(xlabel="step", ylabel="denoising loss (mean of 10)", yscale="log")
    axes.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def embed(html: str, root: Path) -> str:
    """Pictures as data URIs, so that the page is one file."""

    def data(match: re.Match[str]) -> str:
        encoded = base64.b64encode((root / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{encoded}"'

    return re.sub(r'src="([^":]+\.png)"', data, html)

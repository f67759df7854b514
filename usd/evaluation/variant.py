"""The whole evaluation of one variant: choices on validation, then every metric on test.

Three rows are scored for every trained task: `chosen`, on all items, with what validation chose; a number of
evaluations (`1`, `2`, …), on the first `curve_items`, with the best way to spend them; and `paper`, on the same items,
with the paper's list: the one that a variant with ESS was trained on, ESS-10 in the paper, else 100 DDIM steps.
"""

from pathlib import Path

import numpy as np
from rich.progress import track

from usd import config
from usd.config.values import Strategy
from usd.data.shards import Shards
from usd.determinism import device_for
from usd.diffusion.timesteps import sampling_timesteps
from usd.evaluation.choice import Choice
from usd.evaluation.context import in_context, pair_change
from usd.evaluation.evaluator import Evaluator, Measure, Scored, Scores, rounded
from usd.evaluation.files import Evaluation, write_evaluation
from usd.evaluation.manifest import Samples, check_counts, per_sample
from usd.evaluation.names import HEADLINE
from usd.evaluation.pictures import draw_grid
from usd.evaluation.sampling import Candidate, Shown
from usd.files import atomic_directory
from usd.tasks import DIRECTIONS, TRAINED, UNSEEN, Task


def evaluate_model(
    model: Path, strategy: Strategy, params: config.Params, shards: Shards, judges: Path, out: Path
) -> Evaluation:
    """Evaluate a model directory that is sampled at the timesteps of `strategy`; writes all that was found into `out`.

    Args:
        judges: folder of the annotators that read the maps of generated images.

    Raises:
        UsdError: more items are asked for than a split has, or a part of the model is missing or unreadable.
    """
    check_counts(params.evaluate, shards)
    device = device_for(params.train.device)
    evaluator = Evaluator.of_model(
        model, device, strategy, params.train.ess_steps, params.evaluate, Measure.of(shards, judges)
    )
    with atomic_directory(out, "metrics.json") as scratch:
        found = evaluate_variant(evaluator, Samples(shards["val"]), Samples(shards["test"]), scratch)
        write_evaluation(found, scratch)
    return found


def evaluate_variant(evaluator: Evaluator, validation: Samples, test: Samples, grids: Path | None = None) -> Evaluation:
    """Choose on `validation`, score on `test`; picture grids go to `grids`."""
    directions = track(DIRECTIONS, description="choose on validation")
    choices = {direction: evaluator.choose(validation, direction) for direction in directions}
    found = Evaluation({direction: {} for direction in DIRECTIONS})
    found.metrics |= {
        "unseen": {direction: {} for direction in DIRECTIONS},
        "sampling": {direction: choice.as_dict() for direction, choice in choices.items()},
        "paper": {},
    }
    for task in track(TRAINED, description="score trained tasks"):
        score_trained(evaluator, test, task, choices[task.direction], found, grids)
    for task in track(UNSEEN, description="score unseen tasks"):
        score_unseen(evaluator, test, task, choices[task.direction].best, found, grids)
    found.metrics["obeys"] = min(share for tested in found.context.values() for share in tested["obeys"].values())
    if evaluator.pipeline.adapter.indicator is not None:
        found.metrics["indicator_accuracy"] = float(np.mean(found.recognised))
    found.metrics = rounded(found.metrics)
    return found


def score_trained(
    evaluator: Evaluator, test: Samples, task: Task, choice: Choice, found: Evaluation, grids: Path | None
) -> None:
    """All rows and tests of one trained task."""
    params = evaluator.params
    scored = evaluator.score(test, task, params.items, choice.best)
    keep(found, "chosen", task, choice.best, scored, evaluator)
    items = test.manifest(task, params.items, params.seed)
    found.samples += per_sample(scored.images, test.pictures([item.query for item in items], task.target), items)
    for budget in params.step_counts:
        candidate = choice.within(budget)
        keep(found, str(budget), task, candidate, evaluator.score(test, task, params.curve_items, candidate), evaluator)
    paper = paper_candidate(evaluator, choice)
    published = evaluator.score(test, task, params.curve_items, paper)
    keep(found, "paper", task, paper, published, evaluator)
    label = f"{evaluator.strategy}-{evaluator.ess_steps if evaluator.strategy == 'ess' else params.baseline_steps}"
    found.metrics["paper"].setdefault(label, {}).setdefault(task.direction, {})[task.map.name] = published.scores
    tested = in_context(evaluator, test, task, scored, choice.best)
    found.context[task.name] = tested.as_dict()
    scores = scored.scores | {"swapped_pair_change": pair_change(scored, tested.swapped)}
    found.metrics[task.direction][task.map.name] = scores
    if grids:
        count = params.grid_items
        columns = {"output": scored.images[:count], "swapped pair": tested.swapped.images[:count]}
        draw_grid(test, task, params, columns, grids / f"{task.name}.png")
    names = list(evaluator.pipeline.adapter.config.tasks)
    assert scored.indicator is not None
    found.recognised.append(float((scored.indicator.argmax(1) == names.index(task.name)).float().mean()))


def score_unseen(
    evaluator: Evaluator, test: Samples, task: Task, candidate: Candidate, found: Evaluation, grids: Path | None
) -> None:
    """One task that was kept out of training; with an indicator also as the paper averages it."""
    params = evaluator.params
    scored = evaluator.score(test, task, params.unseen_items, candidate)
    scores: Scores = dict(scored.scores)
    keep(found, "chosen", task, candidate, scored, evaluator)
    if evaluator.pipeline.adapter.indicator is not None:
        averaged = evaluator.score(test, task, params.unseen_items, candidate, Shown(indicator=task.name))
        metric = HEADLINE[task.direction]
        scores[f"{metric}_averaged"] = averaged.scores[metric]
    items = test.manifest(task, params.unseen_items, params.seed)
    found.samples += per_sample(scored.images, test.pictures([item.query for item in items], task.target), items)
    found.metrics["unseen"][task.direction][task.map.name] = scores
    if grids:
        draw_grid(test, task, params, {"output": scored.images[: params.grid_items]}, grids / f"{task.name}.png")


def paper_candidate(evaluator: Evaluator, choice: Choice) -> Candidate:
    """The paper's list for the variant, with the guidance that validation chose for the longest list tried."""
    params = evaluator.params
    own = len(sampling_timesteps("ess", evaluator.ess_steps))  # without t = 0
    steps = own if evaluator.strategy == "ess" else params.baseline_steps
    return Candidate(steps, choice.guidance_scale(steps))


def keep(found: Evaluation, row: str, task: Task, candidate: Candidate, scored: Scored, evaluator: Evaluator) -> None:
    """Add a row to the curve, and its bootstrap replicates."""
    facts = {"row": row, "direction": task.direction, "task": task.map.name, "trained": task.map.trained}
    facts |= {"steps": candidate.steps, "guidance": candidate.guidance_scale, "nfe": candidate.nfe}
    facts["items"] = len(scored.images)
    found.curve.append(facts | rounded(scored.scores))
    for metric, values in scored.replicates(evaluator.params).items():
        found.replicates[f"{row}/{task.name}/{metric}"] = values

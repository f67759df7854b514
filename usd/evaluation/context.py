"""In-context tests: does the output follow the example pair?

Image2Map has an empty prompt, so nothing but the pair says what to draw; `other_prompt` names the map. Map2Image has a
caption, which `other_prompt` leaves out.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from usd.evaluation import bootstrap
from usd.evaluation.evaluator import Evaluator, Scored
from usd.evaluation.manifest import Samples
from usd.evaluation.metrics import nearest, rmse
from usd.evaluation.names import SETTINGS
from usd.evaluation.sampling import Candidate, Shown
from usd.tasks import MAPS, TRAINED, Task


@dataclass(frozen=True)
class Tested:
    """One task with every setting."""

    changes: dict[str, bootstrap.Interval]  # setting → change of the error; above zero is worse
    obeys: dict[str, float]  # own or swapped pair → share of items nearest to the truth of the task that it shows
    swapped: Scored  # the results with another task's pair

    def as_dict(self) -> dict[str, Any]:
        """For context.json."""
        return {"error_change": {name: found.as_dict() for name, found in self.changes.items()}, "obeys": self.obeys}


def other(task: Task) -> Task:
    """Another trained task of the same direction."""
    same = [each for each in TRAINED if each.direction == task.direction]
    return same[(same.index(task) + 1) % len(same)]


def setting(name: str, task: Task) -> Shown:
    """What the variant is given in a setting; all else is as usual."""
    return {
        "black_pair": Shown(black=True),
        "foreign_pair": Shown(task=other(task)),
        "other_prompt": Shown(caption=False, named=True),
        "two_pairs": Shown(pairs=2),
        "four_pairs": Shown(pairs=4),
    }[name]


def in_context(evaluator: Evaluator, test: Samples, task: Task, usual: Scored, candidate: Candidate) -> Tested:
    """Answer the task's items again in every setting.

    The error is the RMSE to the truth (Image2Map) or of the control adherence (Map2Image), where a judge reads it.
    """
    params = evaluator.params
    found = {
        name: evaluator.score(test, task, params.curve_items, candidate, setting(name, task), distances=False)
        for name in SETTINGS
    }
    metric = "rmse" if task.direction == "image2map" else "adherence_rmse"
    own = first(usual, params.curve_items)
    changes = {name: change(own, each, metric, evaluator) for name, each in found.items() if metric in each.squared}
    obeys = {}
    if task.direction == "image2map":
        keys = [item.query for item in test.manifest(task, params.curve_items, params.seed)]
        truths = {name: test.pictures(keys, name) for name in MAPS}
        for name, images, pair_task in (
            ("own_pair", own.images, task),
            ("foreign_pair", found["foreign_pair"].images, other(task)),
        ):
            obeys[name] = float(np.mean([answer == pair_task.map.name for answer in nearest(images, truths)]))
    return Tested(changes, obeys, found["foreign_pair"])


def change(usual: Scored, found: Scored, metric: str, evaluator: Evaluator) -> bootstrap.Interval:
    """The error of `found` − that of `usual`, on the same items."""
    draws = bootstrap.resamples(len(found.images), evaluator.params.replicates, evaluator.params.seed)
    before, after = usual.squared[metric], found.squared[metric]
    differences = bootstrap.rmse_replicates(after, draws) - bootstrap.rmse_replicates(before, draws)
    return bootstrap.interval(float(np.sqrt(after.mean()) - np.sqrt(before.mean())), differences)


def first(scored: Scored, count: int) -> Scored:
    """The results and errors of the first `count` items; the scores and features of all are left out."""
    squared = {name: values[:count] for name, values in scored.squared.items()}
    return replace(scored, images=scored.images[:count], scores={}, squared=squared, features=None)


def pair_change(usual: Scored, swapped: Scored) -> float:
    """RMSE between the outputs for the task's own pair and for another task's."""
    return rmse(swapped.images, usual.images[: len(swapped.images)])

"""What the runs of the study say: means over the seeds, differences with intervals, and study.json."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from usd.config.training import BASELINE, OURS
from usd.evaluation.bootstrap import LEVEL, Interval, interval
from usd.evaluation.files import Results
from usd.evaluation.names import HEADLINE, TRIVIAL
from usd.reporting.comparison import unseen_tasks
from usd.tasks import TRAINED, Direction

UNSEEN_IMAGE2MAP = tuple(unseen_tasks())
UPPER = (1 + LEVEL) / 2
FEW_EVALUATIONS = 9  # ESS is judged by the quality up to this many


@dataclass(frozen=True)
class Quantity:
    """A mean over several measured numbers, which are named as the columns of bootstrap.csv."""

    name: str
    columns: tuple[str, ...]  # row/task/metric

    def value(self, run: Results) -> float:
        """The mean in one run."""
        return float(np.mean([run.value(*column.split("/")) for column in self.columns]))

    def replicates(self, run: Results) -> np.ndarray:
        """Its bootstrap replicates (R,) in one run."""
        found: np.ndarray = np.mean([run.replicates[column] for column in self.columns], axis=0)
        return found


def over_trained(row: str, direction: Direction, metric: str, run: Results) -> Quantity:
    """The mean over the trained tasks that a run has the metric of."""
    names = [f"{row}/{task.name}/{metric}" for task in TRAINED if task.direction == direction]
    return Quantity(f"{row} {metric}", tuple(name for name in names if name in run.replicates))


@dataclass(frozen=True)
class Findings:
    """All runs by variant, in the order of the seeds, and the yardsticks."""

    runs: dict[str, list[Results]]
    seeds: list[int]
    yardsticks: list[dict[str, Any]]
    bootstrap_seed: int

    def difference(self, quantity: Quantity, ours: str = OURS, theirs: str = BASELINE) -> Interval:
        """`ours` − `theirs`, with an interval over items and training seeds."""
        values = [np.mean([quantity.value(run) for run in self.runs[name]]) for name in (ours, theirs)]
        replicates = [[quantity.replicates(run) for run in self.runs[name]] for name in (ours, theirs)]
        differences = seed_differences(replicates[0], replicates[1], self.bootstrap_seed)
        return interval(float(values[0] - values[1]), differences)

    def removals(self) -> dict[str, Quantity]:
        """What each part is judged by, named before the results: the variant without it → the quantity."""
        run = self.runs[OURS][0]
        few = [row for row in sorted(set(run.curve["row"])) if row.isdigit() and int(row) <= FEW_EVALUATIONS]
        columns = [column for row in few for column in over_trained(row, "image2map", "rmse", run).columns]
        return {
            "no_sga": Quantity("RMSE of the unseen tasks", tuple(f"chosen/{task}/rmse" for task in UNSEEN_IMAGE2MAP)),
            "no_fal": Quantity(
                "adherence RMSE as chosen", over_trained("chosen", "map2image", "adherence_rmse", run).columns
            ),
            "no_ess": Quantity(f"RMSE at up to {FEW_EVALUATIONS} evaluations", tuple(columns)),
            "no_self_estimates": Quantity(
                f"RMSE at {FEW_EVALUATIONS} evaluations",
                over_trained(str(FEW_EVALUATIONS), "image2map", "rmse", run).columns,
            ),
        }

    def table(self) -> pd.DataFrame:
        """One line a run, task and way to sample."""
        frames = [
            run.curve.assign(variant=variant, seed=seed)
            for variant, runs in self.runs.items()
            for seed, run in zip(self.seeds, runs, strict=True)
        ]
        found = pd.concat(frames, ignore_index=True)
        return found[["variant", "seed", *(name for name in found if name not in ("variant", "seed"))]]

    def obeys(self) -> dict[str, float]:
        """Share of items nearest to the shown task's truth with an empty prompt, the mean over the seeds."""
        names = [task.name for task in TRAINED if task.direction == "image2map"]
        return {
            name: round(float(np.mean([run.context[name]["obeys"]["own_pair"] for run in self.runs[OURS]])), 5)
            for name in names
        }

    def unseen(self) -> dict[str, dict[str, float]]:
        """RMSE of the unseen Image2Map tasks, the mean over the seeds, beside the best trivial answer."""
        found = {}
        for task in UNSEEN_IMAGE2MAP:
            trivial = [row["rmse"] for row in self.yardsticks if row["task"] == task and row["name"] in TRIVIAL]
            ours = float(np.mean([run.value("chosen", task, "rmse") for run in self.runs[OURS]]))
            found[task] = {"ours": round(ours, 5), "best_trivial": min(trivial)}
        return found

    def claims(self, speedup: float) -> dict[str, Any]:
        """The paper's row."""
        run = self.runs[OURS][0]
        rows = {metric: self.difference(over_trained("paper", way, metric, run)) for way, metric in HEADLINE.items()}
        return {metric: found.as_dict() for metric, found in rows.items()} | {"speedup": speedup}

    def as_dict(self, speedup: float) -> dict[str, Any]:
        """study.json."""
        table = self.table()
        rows = [{key: value for key, value in row.items() if value == value} for row in table.to_dict("records")]
        return {
            "rows": rows,
            "references": self.yardsticks,  # the name that readers of the committed file know
            "claims": self.claims(speedup),
            "obeys_pair": self.obeys(),
            "unseen": self.unseen(),
            "choices": {name: [run.metrics["sampling"] for run in runs] for name, runs in self.runs.items()},
            "removals": {
                name: {"metric": quantity.name, **self.difference(quantity, OURS, name).as_dict()}
                for name, quantity in self.removals().items()
                if name in self.runs and quantity.columns
            },
        }


def seed_differences(ours: list[np.ndarray], theirs: list[np.ndarray], seed: int) -> np.ndarray:
    """Differences of replicates over items and training seeds, (R,).

    Each list has the replicates (R,) of one training seed. A replicate takes as many seeds of either side as there
    are, with replacement, and the mean over them; the draws of the items stay paired. Three seeds drawn again spread
    too little: alone they would hold the truth 79 times in 100. So what they spread is widened by Student's t.
    """
    rng, freedom = np.random.default_rng((seed, len(ours), len(theirs))), len(ours) + len(theirs) - 2
    student = stats.t.ppf(UPPER, freedom) / stats.norm.ppf(UPPER) if freedom else 1.0

    def means(runs: list[np.ndarray]) -> np.ndarray:
        table, count = np.stack(runs), len(runs)  # (S, R)
        drawn = np.take_along_axis(table, rng.integers(count, size=table.shape), axis=0).mean(0)
        whole = table.mean(0)
        found: np.ndarray = whole + student * np.sqrt(count / max(1, count - 1)) * (drawn - whole)
        return found

    differences: np.ndarray = means(ours) - means(theirs)
    return differences

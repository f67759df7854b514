"""The picture grid of a task: what was given, what was wanted, and what came out."""

from pathlib import Path

from torch import Tensor

from usd import config
from usd.evaluation.manifest import Samples
from usd.images import to_array, write_grid
from usd.tasks import Task


def draw_grid(test: Samples, task: Task, params: config.Evaluate, outputs: dict[str, Tensor], path: Path) -> None:
    """One row an item: query, the example's source and target, truth, then the outputs (grid_items, 3, H, W)."""
    items = test.manifest(task, params.grid_items, params.seed)
    queries, examples = [item.query for item in items], [item.example for item in items]
    columns = {
        "query": test.pictures(queries, task.source),
        "source": test.pictures(examples, task.source),
        "target": test.pictures(examples, task.target),
        "truth": test.pictures(queries, task.target),
        **outputs,
    }
    write_grid([list(row) for row in zip(*map(to_array, columns.values()), strict=True)], list(columns), path)

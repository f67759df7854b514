"""Stage `ablation`: SGA, FAL and ESS removed one at a time, over several seeds. Frozen in dvc.yaml, its result in git.

Every variant, the baseline included, samples with its own strategy and chooses guidance and step count, among the
same candidates, on the validation split.
"""

import json
from pathlib import Path

from usd.files import atomic_directory
from usd.stages import RunDir, run
from usd.study.ablation import Experiment, Scores, table


def main(shards: str, annotators: Path, out: Path, run_dir: RunDir) -> None:
    """Train and evaluate every variant of `ablation` with every seed; writes runs.json and table.md into OUT.

    RUN_DIR keeps finished runs and the checkpoint of the current one: run it again to go on.
    """
    experiment = Experiment(shards, annotators, run_dir)
    params = experiment.params.ablation
    runs: dict[str, list[Scores]] = {}
    for seed in params.seeds:
        for variant in params.variants:
            runs.setdefault(variant, []).append(experiment.run(variant, seed))
    with atomic_directory(out) as scratch:
        (scratch / "runs.json").write_text(json.dumps(runs, indent=1) + "\n")
        (scratch / "table.md").write_text(table(runs, params))


if __name__ == "__main__":
    run(main)

"""Stage `yardsticks`: the answers of the frozen base and of trivial predictors, scored on the test manifest."""

from pathlib import Path

from usd import config
from usd.data.shards import Shards
from usd.evaluation.evaluator import Measure
from usd.evaluation.manifest import check_counts
from usd.evaluation.yardsticks import score_yardsticks
from usd.files import atomic_directory, check_replaceable
from usd.stages import run

MARK = "yardsticks.json"


def main(shards: str, judges: Path, base: Path, control: Path, out: Path) -> None:
    """Score the yardsticks on SHARDS; writes into OUT. BASE alone is one, and CONTROL alone if it is a whole model.

    JUDGES read the maps of generated images.
    """
    check_replaceable(out, MARK)
    params, opened = config.load(), Shards.open(shards)
    check_counts(params.evaluate, opened)
    strategy, measure = params.variant("control").timesteps, Measure.of(opened, judges)
    yardsticks = score_yardsticks(opened, str(base), control, strategy, params.train, params.evaluate, measure)
    with atomic_directory(out, MARK) as scratch:
        yardsticks.write(scratch)


if __name__ == "__main__":
    run(main)

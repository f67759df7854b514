"""Stage `references`: the answers of the frozen base and of trivial predictors, scored on the test manifest."""

from pathlib import Path

from usd import config
from usd.data.shards import Shards
from usd.determinism import device_for
from usd.evaluation.evaluator import Evaluator, Measure
from usd.evaluation.manifest import Samples, check_counts
from usd.evaluation.references import References
from usd.evaluation.sampling import NAMED
from usd.files import atomic_directory, check_replaceable
from usd.model.base import load_base
from usd.model.directory import is_model
from usd.stages import run

MARK = "references.json"


def main(shards: str, judges: Path, base: Path, control: Path, out: Path) -> None:
    """Score the references on SHARDS; writes into OUT. BASE alone is one, and CONTROL alone if it is a whole model.

    JUDGES read the maps of generated images.
    """
    check_replaceable(out, MARK)
    everything = config.load()
    opened = Shards.open(shards)
    check_counts(everything.evaluate, opened)
    device = device_for(everything.train.device)
    measure = Measure.of(opened, judges)
    references = References(everything.evaluate, measure)
    test = Samples(opened["test"])
    references.answer(load_base(str(base)).freeze().to(device), test, Samples(opened["train"]))
    if is_model(control):  # and not a ControlNet, which has no adapter, or no start at all
        strategy = everything.variant("control").timesteps
        steps = everything.train.ess_steps
        evaluator = Evaluator.of_model(control, device, strategy, steps, everything.evaluate, measure, NAMED)
        references.answer_by_control(evaluator, Samples(opened["val"]), test)
    with atomic_directory(out, MARK) as scratch:
        references.write(scratch)


if __name__ == "__main__":
    run(main)

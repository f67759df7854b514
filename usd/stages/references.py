"""Stage `references`: the answers of the frozen base and of trivial predictors, scored on the test manifest."""

import json
from pathlib import Path

from usd import config
from usd.annotators.loading import load_annotators
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.evaluation.evaluator import Measure
from usd.evaluation.files import write_replicates
from usd.evaluation.manifest import Samples, mean_maps
from usd.evaluation.references import References
from usd.files import atomic_directory
from usd.model.base import load_base
from usd.stages import run


def main(shards: str, judges: Path, base: Path, out: Path) -> None:
    """Score the references on SHARDS; JUDGES read the maps of generated images. Writes into OUT."""
    everything = config.load()
    opened = Shards.open(shards)
    frozen = load_base(str(base)).freeze().to(accelerator_for(everything.train.device, "no").device)
    measure = Measure(mean_maps(opened), load_annotators(judges))
    references = References(everything.evaluate, measure)
    references.answer(frozen, Samples(opened["test"]), Samples(opened["train"]))
    with atomic_directory(out) as scratch:
        (scratch / "references.json").write_text(json.dumps(references.rows, indent=1) + "\n")
        write_replicates(references.replicates, scratch / "bootstrap.csv")


if __name__ == "__main__":
    run(main)

"""No stage replaces a folder that it did not make, and each says so before it works for hours."""

from collections.abc import Callable
from pathlib import Path

import pytest

from usd.errors import UsdError
from usd.evaluation.evaluator import Evaluator, Measure
from usd.stages import annotators, base, control, evaluate, reference, study, train, yardsticks

SHARDS, NETWORKS, CURVE, RUN = "shards", Path("annotators"), Path("curve.csv"), Path("run")
BASE, CONTROL = Path("models/base"), Path("models/control")
MAIN: dict[str, Callable[[Path], None]] = {
    "annotators": lambda out: annotators.main(SHARDS, out, Path("networks.json"), RUN),
    "base": lambda out: base.main(SHARDS, out, RUN),
    "control": lambda out: control.main(SHARDS, out, CURVE, RUN),
    "train": lambda out: train.main("us_diffusion", SHARDS, NETWORKS, out, CURVE, RUN),
    "yardsticks": lambda out: yardsticks.main(SHARDS, NETWORKS, BASE, CONTROL, out),
    "evaluate": lambda out: evaluate.main("us_diffusion", SHARDS, NETWORKS, CONTROL, out),
    "study": lambda out: study.main(SHARDS, NETWORKS, NETWORKS, CONTROL, Path("benchmark.json"), out, RUN),
    "reference": lambda out: reference.main(SHARDS, NETWORKS, NETWORKS, out, Path("results"), CURVE, RUN),
    "its results": lambda out: reference.main(SHARDS, NETWORKS, NETWORKS, Path("model"), out, CURVE, RUN),
}


@pytest.mark.parametrize("name", MAIN)
def test_a_folder_that_the_stage_did_not_make_is_kept(
    name: str, trainable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, method in ((Evaluator, "of_model"), (Measure, "of")):  # that read models
        monkeypatch.setattr(kind, method, lambda *_: None)
    photos = trainable / "photos"
    photos.mkdir()
    (photos / "photo.jpg").write_text("precious")
    with pytest.raises(UsdError, match=r"photos: has no [\w/]+\.(csv|json), so this stage did not make it; name anoth"):
        MAIN[name](Path("photos"))
    assert [path.name for path in photos.iterdir()] == ["photo.jpg"]
    assert not RUN.exists()

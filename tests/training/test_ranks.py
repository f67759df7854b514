"""What a training's stage does on other processes than the first, and where an earlier run left its result."""

from pathlib import Path

import pytest
from accelerate import PartialState

from usd.stages import annotators, base, reference
from usd.training.variant import Run


class Evaluated(Exception):
    """The model was evaluated, which would take long."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The results of the trainings, which are skipped."""
    found: list[Path] = []

    def train(self: Run, out: Path, curve: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        found.append(out)

    def evaluate(*_: object) -> None:
        raise Evaluated

    monkeypatch.setattr(Run, "train", train)
    monkeypatch.setattr(base, "pretrain", lambda *_: found.append(Path("base")) or [])
    monkeypatch.setattr(annotators, "train_annotators", lambda *_: (found.append(Path("networks")), []))
    monkeypatch.setattr(reference, "evaluate_model", evaluate)
    return found


def make_reference() -> None:
    networks = Path("annotators")
    reference.main("shards", networks, networks, Path("out"), Path("results"), Path("curve.csv"), Path("run"))


@pytest.mark.usefixtures("trainable")
def test_only_the_first_process_writes_results(trained: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartialState, "is_main_process", False)
    base.main("shards", Path("new/base"), Path("run/base"))
    annotators.main("shards", Path("new/networks"), Path("new/networks.json"), Path("run/networks"))
    make_reference()
    assert len(trained) == 3
    assert not list(Path("new").iterdir())
    assert not Path("out").exists()
    assert not Path("run/identity.json").exists()


@pytest.mark.parametrize("changed", ["models/base/README.md", "models/control/README.md", "annotators/config.json"])
def test_the_reference_is_trained_again_where_an_input_has_changed(
    trainable: Path, trained: list[Path], changed: str
) -> None:
    for count in (1, 1, 2):
        if count == 2:
            (trainable / changed).write_text("{}")
        with pytest.raises(Evaluated):
            make_reference()
        assert len(trained) == count

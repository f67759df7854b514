"""The training step as one graph is the project's training step, and the stage takes up what it has trained."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from benchmarks import captured, graph, steps
from tests.conftest import ROOT, written_elsewhere
from usd import config
from usd.annotators.loading import load_annotators
from usd.config.profiles import change
from usd.config.training import OURS
from usd.data.shards import Shards
from usd.determinism import accelerator_for
from usd.errors import UsdError
from usd.model.base import load_base
from usd.training import loop
from usd.training.checkpoint import CHECKPOINT
from usd.training.finetune import batches_of, new_denoiser
from usd.training.objective import Objective
from usd.training.variant import Run

pytestmark = pytest.mark.slow

ANNOTATORS, WEIGHTS = Path("annotators"), "diffusion_pytorch_model.safetensors"
FEW = {"reference": {"steps": 2, "batch_size": 1}, "train": {"ess_steps": 10}}


@pytest.mark.usefixtures("trainable")
@pytest.mark.parametrize("variant", [OURS, "prompt_diffusion", "control", "no_ess"])
def test_loss_and_gradients_are_those_of_the_objective(variant: str) -> None:
    change([FEW])
    params = config.load()
    base = load_base(str(ROOT / "models/base")).freeze()
    own, settings = replace(params.train, batch_size=2), params.variant(variant)
    denoiser = new_denoiser(base, settings, own)
    for weight in denoiser.parameters():
        if weight.requires_grad and not weight.any():
            torch.nn.init.normal_(weight, std=0.02)
    shards = Shards.open("shards")
    batch = next(batches_of(shards, own, "", accelerator_for("cpu", "no"))(0))
    objective = Objective(base, load_annotators(ANNOTATORS), own, settings)
    step = graph.Step(objective, denoiser, 64, torch.device("cpu"))
    terms = objective(denoiser, batch)
    total = torch.stack([term for name, term in terms.items() if "/" not in name]).sum()
    total.backward()
    wanted = [weight.grad for weight in step.weights]
    for counts in (step.usual, step.most):
        step.usual = counts
        found = step(batch)
        assert found.keys() == {"loss", *terms}
        for name, term in {"loss": total, **terms}.items():
            assert torch.allclose(found[name], term, atol=1e-6), name
        for weight, gradient in zip(step.weights, wanted, strict=True):
            assert torch.allclose(weight.grad, gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.usefixtures("trainable")
@pytest.mark.parametrize("other", [{"precision": "bf16"}, {"gradient_accumulation_steps": 2}, {"feedback_below": 200}])
def test_what_it_does_not_do_is_refused(other: dict[str, Any]) -> None:
    change([{"train": other}])
    with pytest.raises(UsdError, match=rf"train\.{next(iter(other))}: .* train by stage `reference`"):
        captured.main("shards", ANNOTATORS, Path("run"))


@pytest.mark.usefixtures("trainable")
def test_the_stage_takes_up_what_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    change([FEW])
    params = config.load()
    own = replace(params.train, **asdict(params.reference))

    def train(run_dir: str) -> None:
        run = Run("reference", "reference", params.variant(OURS), own, Shards.open("shards"), ANNOTATORS, Path(run_dir))
        run.train(Path(f"{run_dir}-model"), Path(f"{run_dir}.csv"))

    train("usual")
    captured.main("shards", ANNOTATORS, Path("captured"))
    monkeypatch.setattr(loop, "_step", None)  # no step is left
    train("captured")
    usual, found = (load_file(f"{name}-model/control/{WEIGHTS}") for name in ("usual", "captured"))
    assert all(torch.allclose(weight, found[name], atol=1e-4) for name, weight in usual.items())
    pd.testing.assert_frame_equal(pd.read_csv("usual.csv").tail(1), pd.read_csv("captured.csv").tail(1), rtol=1e-3)


@pytest.mark.usefixtures("trainable")
def test_it_keeps_out_of_a_run_folder_that_another_process_trains_in() -> None:
    change([FEW])
    with written_elsewhere(Path("run")), pytest.raises(UsdError, match="run: another process is writing it"):
        captured.main("shards", ANNOTATORS, Path("run"))
    assert not (Path("run") / CHECKPOINT).exists()


@pytest.mark.usefixtures("trainable")
def test_weights_of_a_loss_that_is_not_finite_are_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    change([FEW, {"train": {"log_every": 7}, "reference": {"steps": 5}}])
    monkeypatch.setattr(captured, "EVERY", 1)
    monkeypatch.setattr(graph.Step, "__call__", lambda self, batch: {"loss": torch.tensor(torch.nan)})
    with pytest.raises(UsdError, match="step 1: not finite"):
        captured.main("shards", ANNOTATORS, Path("run"))
    assert not (Path("run") / CHECKPOINT).exists()


@pytest.mark.usefixtures("trainable")
def test_both_ways_of_a_step_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    change([FEW])
    steps.main("shards", ANNOTATORS, few=1, many=3)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("| us_", "| prompt_"))]
    assert len(rows) == 2
    assert all(" ms | " in row for row in rows)

"""What training the control branch minimises: its numbers, its random draws, and what its gradients reach."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from usd import config
from usd.annotators.bundled import PerceptionNet, depth_annotator, segmentation_annotator, soft_edges
from usd.data.loader import Batch
from usd.diffusion.losses import feedback
from usd.diffusion.prediction import clean_estimate
from usd.diffusion.sampling import ddim, sample
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.model.base import decode, encode, encode_text
from usd.model.control import Denoiser
from usd.tasks import TRAINED
from usd.training.finetune import new_denoiser
from usd.training.objective import Objective, draw_all

PARAMS = config.load(ROOT / "params.yaml")
TRAIN, VARIANTS = dataclasses.replace(PARAMS.train, warm_start=config.NO_START), PARAMS.variants
ITEMS = 12


@pytest.fixture(scope="module")
def net() -> PerceptionNet:
    torch.manual_seed(0)
    return PerceptionNet([8, 16]).requires_grad_(False)


def steered(base, variant: str) -> Denoiser:
    """A denoiser whose control branch is not at zero, so that all inputs matter."""
    denoiser = new_denoiser(base, VARIANTS[variant], TRAIN)
    torch.manual_seed(0)
    zeros = [denoiser.adapter.example.out, denoiser.adapter.query.out, *denoiser.control.controlnet_down_blocks]
    for module in zeros:
        nn.init.normal_(module.weight, std=0.2)
    return denoiser.train()


def batch_of(items: int = ITEMS) -> Batch:
    pictures = torch.rand(4, items, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    task = torch.arange(items) % len(TRAINED)
    prompts = [TRAINED[number].prompt(f"a red cube {item}", named=True) for item, number in enumerate(task.tolist())]
    return Batch(TRAINED, task, *pictures, prompts, prompts, ["key"] * items, 7)


def objective(base, net: PerceptionNet, variant: str, **changes) -> Objective:
    annotators = {"depth": depth_annotator(net), "seg": segmentation_annotator(net), "hed": soft_edges}
    return Objective(base, annotators, dataclasses.replace(TRAIN, **changes), VARIANTS[variant])


@pytest.mark.parametrize(
    ("variant", "expected"),
    [  # of the first implementation that leaves the maps' names out
        ("no_self_estimates", {"denoising": 0.822657, "feedback": 0.0764402, "indicator": 0.179424}),
        ("prompt_diffusion", {"denoising": 0.745349}),
    ],
)
def test_the_terms_have_the_values_of_the_first_implementation(base, net, variant, expected) -> None:
    changes = {"map_weight": 2.0, "indicator_weight": 0.1, "dropout": 0.05, "feedback_image2map": 1.0}
    denoiser = steered(base, variant)
    terms = objective(base, net, variant, **changes, ess_steps=5, feedback_below=999)(denoiser, batch_of())
    assert {name: term.item() for name, term in terms.items() if "/" not in name} == pytest.approx(expected, rel=1e-4)
    for name in ("denoising", "feedback") if "feedback" in terms else ("denoising",):
        parts = [terms[f"{name}/{task.name}"].item() for task in TRAINED]
        assert sum(parts) / len(parts) == pytest.approx(terms[name].item(), rel=1e-5)
    torch.stack([term for name, term in terms.items() if "/" not in name]).sum().backward()
    idle = [name for name, weight in denoiser.named_parameters() if weight.requires_grad and weight.grad is None]
    assert not idle  # so processes need not look for unused parameters


@pytest.mark.parametrize(("variant", "named"), [("us_diffusion", False), ("control", True)])
def test_the_prompt_names_a_map_only_where_no_pair_shows_it(base, net, variant: str, named: bool) -> None:
    """Else the pair is superfluous, and a black one gives the same result."""
    batch, everything = batch_of(), torch.ones(ITEMS, dtype=torch.bool)
    text = objective(base, net, variant)._text(batch, everything)
    names = [named or TRAINED[number].direction == "map2image" for number in batch.task.tolist()]
    kept = [prompt if name else "" for prompt, name in zip(batch.prompts, names, strict=True)]
    assert torch.equal(text, encode_text(base, kept))


def test_feedback_that_no_item_is_due_is_zero(base, net) -> None:
    terms = objective(base, net, "us_diffusion", feedback_below=0)(steered(base, "us_diffusion"), batch_of())
    assert terms["feedback"].item() == 0


def test_feedback_needs_an_annotator_for_each_map_that_it_weighs(base, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsdError, match=r"no annotator for the hed map; set feedback_weight=0 in its row"):
        Objective(base, {"depth": soft_edges, "seg": soft_edges}, TRAIN, VARIANTS["us_diffusion"])
    Objective(base, {}, TRAIN, VARIANTS["prompt_diffusion"])
    unweighted = tuple(dataclasses.replace(t, map=dataclasses.replace(t.map, feedback_weight=0.0)) for t in TRAINED)
    monkeypatch.setattr("usd.training.objective.TRAINED", unweighted)
    batch = dataclasses.replace(batch_of(), tasks=unweighted)
    terms = Objective(base, {}, TRAIN, VARIANTS["us_diffusion"])(steered(base, "us_diffusion"), batch)
    assert terms["feedback"].item() == 0


def test_a_variant_switches_feedback(base, net) -> None:
    terms = objective(base, net, "no_fal")(steered(base, "no_fal"), batch_of(len(TRAINED)))
    assert not [name for name in terms if name.startswith("feedback")]


def test_an_item_with_stops_is_where_the_sampler_would_be(base, net) -> None:
    """Else a model that is sampled meets states that it was not trained on."""
    variant = dataclasses.replace(VARIANTS["us_diffusion"], feedback_weight=0.0, self_estimates=1.0)
    denoiser, batch, calls = steered(base, "us_diffusion").eval(), batch_of(), []
    with torch.no_grad(), denoiser.register_forward_pre_hook(lambda module, inputs: calls.append(inputs)):
        Objective(base, {}, TRAIN, variant)(denoiser, batch)
    ((x_t, t, *conditions),) = calls
    drawn = draw_all(TRAIN, variant, batch.index, tuple(x_t.shape))
    item = int(t.argmin())
    steps = sampling_timesteps("ess", 10)
    stops = [step for step, stop in zip(steps, drawn.stops[item], strict=True) if stop]
    assert stops[-1] == t[item]
    one = [condition[item : item + 1] for condition in conditions]
    reached: list[torch.Tensor] = []
    sample(
        lambda x, t: denoiser(x, t[None], *one)[0],
        drawn.noise[item : item + 1],
        ddim(base.scheduler.config),
        [steps[0], *stops],
        on_step=lambda number, t, x: (reached.append(x), x)[1],
    )
    assert torch.allclose(x_t[item], reached[len(stops) - 1][0], atol=1e-4)
    assert not drawn.stops[t == steps[0]].any()
    true = base.scheduler.add_noise(encode(base.vae, batch.target), drawn.noise, t)
    assert [torch.allclose(a, b) for a, b in zip(x_t, true, strict=True)] == (t == steps[0]).tolist()


def test_a_share_of_the_items_has_stops() -> None:
    variant = dataclasses.replace(VARIANTS["us_diffusion"], self_estimates=0.25)
    drawn = draw_all(TRAIN, variant, 0, (20_000, 1, 1, 1))
    below = drawn.t < 998
    assert float(drawn.stops.any(1)[below].float().mean()) == pytest.approx(0.25, abs=0.02)
    none = draw_all(TRAIN, dataclasses.replace(variant, self_estimates=0.0), 0, (20_000, 1, 1, 1))
    assert not none.stops.any()


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_one_draw(world: int) -> None:
    whole = draw_all(TRAIN, VARIANTS["us_diffusion"], 3, (12, 4, 2, 2))
    parts = [whole.of_process(rank, world) for rank in range(world)]
    for field in dataclasses.fields(whole):
        assert torch.equal(torch.cat([getattr(part, field.name) for part in parts]), getattr(whole, field.name))
    other = draw_all(TRAIN, VARIANTS["us_diffusion"], 4, (12, 4, 2, 2))
    assert not torch.equal(whole.noise, other.noise)


def test_text_and_pair_are_dropped_alone_and_together() -> None:
    drawn = draw_all(dataclasses.replace(TRAIN, dropout=0.2), VARIANTS["us_diffusion"], 0, (20_000, 1, 1, 1))
    text, pair = ~drawn.keep_text, ~drawn.keep_pair
    for share in ((text & ~pair), (pair & ~text), (text & pair)):
        assert float(share.float().mean()) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("name", ["depth", "seg", "hed"])
@pytest.mark.parametrize("makes_image", [True, False])
def test_feedback_alone_reaches_the_adapter(base, net, name: str, makes_image: bool) -> None:
    annotate = objective(base, net, "us_diffusion").annotators[name]
    denoiser, batch, t = steered(base, "us_diffusion"), batch_of(2), torch.tensor([80, 998])
    x_t = torch.randn(2, 12, 32, 32, generator=torch.Generator().manual_seed(0))
    pair = torch.cat([batch.example_source, batch.example_target], dim=1)
    text = encode_text(base, batch.prompts).detach()
    keep = torch.tensor([True, True])
    prediction, *_ = denoiser(x_t, t, text, pair, batch.query, torch.eye(len(TRAINED))[[0, 3]], keep)
    estimate = clean_estimate(base.scheduler, prediction, x_t, t)
    loss = feedback(estimate, batch.query, partial(decode, base.vae), annotate, makes_image)  # (B,)
    loss.sum().backward()
    assert loss.shape == (2,)
    gradients = [w.grad.abs().sum() for w in denoiser.adapter.query.parameters() if w.grad is not None]
    assert float(sum(gradients)) > 0

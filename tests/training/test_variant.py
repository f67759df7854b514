"""A trained variant says how it is sampled by default."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import captured
from tests.conftest import ROOT
from tests.model.test_base import set_in
from usd import config
from usd.config.profiles import change
from usd.data.shards import Shards
from usd.errors import UsdError
from usd.model.base import Base
from usd.stages import reference, study
from usd.training.variant import Run

PARAMS = config.load(ROOT / "params.yaml")
LIST = [998, 819, 499]  # ESS with four timesteps, whose last is left out


@pytest.mark.parametrize(
    ("name", "prediction", "steps"),
    [
        ("us_diffusion", "sample", {"image2map": [998], "map2image": LIST}),
        ("us_diffusion", "epsilon", {"image2map": LIST, "map2image": LIST}),
        ("prompt_diffusion", "sample", {"image2map": LIST, "map2image": LIST}),
        ("prompt_diffusion", "epsilon", {"image2map": LIST, "map2image": LIST}),
    ],
)
def test_every_variant_is_sampled_along_the_ess_list(
    inside_tiny: Path, base: Base, name: str, prediction: str, steps: dict[str, list[int]]
) -> None:
    base.scheduler.register_to_config(prediction_type=prediction)
    params = replace(PARAMS.train, ess_steps=4)
    run = Run(name, "train", PARAMS.variant(name), params, Shards.open("shards"), None, Path("run"))
    found = run.sampling(base)
    assert found == {direction: {"timesteps": each, "guidance_scale": 1.0} for direction, each in steps.items()}


NETS, OUT, RUN = Path("annotators"), Path("out"), Path("run")
PLACES = (NETS, Path("models/control"), Path("benchmark.json"), OUT, RUN)


def train() -> None:
    run = Run("no_fal", "train", PARAMS.variant("no_fal"), PARAMS.train, Shards.open("shards"), None, RUN)
    run.train(OUT, Path("curve.csv"))


@pytest.mark.parametrize(
    ("start", "name", "kind"),
    [
        (train, "no_fal", "v_prediction"),
        (lambda: reference.main("shards", NETS, NETS, OUT, OUT, Path("curve.csv"), RUN), "us_diffusion", "epsilon"),
        (lambda: study.main("shards", NETS, *PLACES), "us_diffusion", "epsilon"),
        (lambda: captured.main("shards", NETS, RUN), "us_diffusion", "epsilon"),
    ],
    ids=["train", "reference", "study", "captured"],
)
def test_own_estimates_need_a_base_that_predicts_the_picture(
    trainable: Path, start: Callable[[], Any], name: str, kind: str
) -> None:
    set_in("scheduler/scheduler_config.json", prediction_type=kind, rescale_betas_zero_snr=False)(Path("models/base"))
    Path("benchmark.json").write_text('{"speedup_end_to_end": 1}')
    change([{"train": {"ess_steps": 10}, "study": {"variants": ["prompt_diffusion", "us_diffusion"]}}])
    with pytest.raises(UsdError, match=rf"^variants\.{name}\.self_estimates: 1 needs .* predicts {kind}; set it to 0"):
        start()
    assert not RUN.exists()

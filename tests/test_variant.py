"""A trained variant says how it is sampled by default."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from usd import config
from usd.data.shards import Shards
from usd.model.base import Base
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

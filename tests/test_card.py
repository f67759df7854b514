"""The model card of a training: the licence is the base's, and the sampled timesteps are the trained ones."""

import dataclasses
from pathlib import Path

from huggingface_hub import ModelCard

from tests.conftest import ROOT
from usd import config
from usd.training.card import model_card

PARAMS = config.load(ROOT / "params.yaml")


def card_of(base: Path) -> ModelCard:
    train = dataclasses.replace(PARAMS.train, base=str(base))
    return ModelCard(model_card("us_diffusion", "train", PARAMS.variants["us_diffusion"], train, "0" * 64, [998, 289]))


def test_the_licence_is_the_bases(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: creativeml-openrail-m\n---\n# A base\n")
    card = card_of(tmp_path)
    assert card.data.license == "creativeml-openrail-m"
    assert "998, 289" in card.text
    assert card_of(ROOT / "models/base").data.license == "mit"

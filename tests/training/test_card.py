"""The model card of a training: the licence is the base's, and the sampled timesteps are the trained ones."""

import dataclasses
from pathlib import Path

from huggingface_hub import ModelCard

from tests.conftest import ROOT
from usd import config
from usd.training.card import base_card, model_card

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


def test_the_bases_card_says_what_it_was_trained_on() -> None:
    card = ModelCard(base_card(PARAMS.base, ["depth map", "hed map"], 4000, 64, 731292, "0" * 64))
    assert card.data.license == "mit"
    assert "4000 scenes of 64 pixels" in card.text
    assert "731,292" in card.text
    assert '"depth map", "hed map" for maps' in card.text

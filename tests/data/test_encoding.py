"""`usd encode`: columns of latents and text states, from which a training takes what its base would encode."""

import contextlib
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT, write_annotators
from tests.model.test_stable_diffusion import US_DIFFUSION, params, stable_diffusion  # noqa: F401 (fixtures)
from usd import cli, config
from usd.config.profiles import change
from usd.data.encoded import Encoded
from usd.data.loader import training_loader
from usd.data.record import read_manifest, write_manifest
from usd.data.shards import Shards
from usd.data.stream import TrainingStream
from usd.data.transforms import augment, mirrored_caption
from usd.determinism import accelerator_for
from usd.errors import UsdError
from usd.images import to_array, to_tensor
from usd.model.base import Base, encode, encode_text, load_base
from usd.stages import shard
from usd.training.encoding import _mirrored, encode_samples
from usd.training.finetune import finetune


@pytest.fixture(scope="module")
def real_base(stable_diffusion: Path) -> Base:  # noqa: F811
    return load_base(str(stable_diffusion)).freeze()


@pytest.fixture(scope="module")
def shards(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """The tiny project's, every third caption with sides that a mirror exchanges."""
    annotated, out = tmp_path_factory.mktemp("sided"), tmp_path_factory.mktemp("packed")
    shutil.copytree(tiny / "annotated", annotated, dirs_exist_ok=True)
    frame = read_manifest(annotated)
    frame.loc[::3, "caption"] = "left, " + frame["caption"]  # first, as the tokenizer cuts off what is far behind
    write_manifest(frame.to_dict("records"), annotated)
    with contextlib.chdir(tiny):
        shard.main(tiny / "scenes", annotated, tiny / "validation", out)
    return Shards.open(out)


@pytest.fixture(scope="module")
def columns(real_base: Base, shards: Shards, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoded")
    encode_samples(real_base, shards, out, batch_size=16)
    return out


def opened(root: Path, base: Base, shards: Shards) -> Encoded:
    return Encoded.open(root, shards["train"], base.digest(), shards.digest)


@torch.no_grad()
def test_a_batch_has_what_the_base_would_encode(columns: Path, real_base: Base, shards: Shards) -> None:
    stream = TrainingStream(shards["train"], 1, 2, 0.5, encoded=opened(columns, real_base, shards))
    batch = next(training_loader(stream, workers=0))
    assert batch.latents is not None
    assert batch.text is not None
    assert torch.allclose(batch.latents, encode(real_base.vae, batch.target), atol=2e-3)  # mirrored where it is
    assert torch.allclose(batch.text, encode_text(real_base, batch.prompts), atol=2e-3)


@torch.no_grad()
def test_a_mirrored_picture_has_the_text_of_the_mirrored_caption(
    columns: Path, real_base: Base, shards: Shards
) -> None:
    split, encoded = shards["train"], opened(columns, real_base, shards)
    captions = list(split.captions())
    numbers = [0, 1, 3, len(captions) - 3, len(captions) - 1]  # the first and the last shard's, with sides and without
    none = [None] * len(numbers)
    for mirrored in (False, True):
        texts = [mirrored_caption(captions[number]) if mirrored else captions[number] for number in numbers]
        found = torch.from_numpy(encoded.text(numbers, none, [mirrored] * len(numbers))).float()
        assert torch.allclose(found, encode_text(real_base, texts), atol=2e-3)
    changed = encoded.text(numbers, none, [False] * 5) != encoded.text(numbers, none, [True] * 5)
    assert changed.any(axis=(1, 2)).tolist() == [mirrored_caption(captions[n]) != captions[n] for n in numbers]


def test_finished_shards_are_not_encoded_again(columns: Path, real_base: Base, shards: Shards, tmp_path: Path) -> None:
    shutil.copytree(columns, tmp_path / "cut")
    (tmp_path / "cut/encoded.json").unlink()
    lost = sorted((tmp_path / "cut").glob("*.latents.npy"))[1]
    lost.unlink()
    calls = []
    hook = real_base.vae.encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    encode_samples(real_base, shards, tmp_path / "cut", batch_size=16)
    hook.remove()
    samples = len(np.load(columns / lost.name))
    assert sum(calls) == samples * 4 * 2  # image and three maps, both ways round
    assert (tmp_path / "cut/encoded.json").read_text() == (columns / "encoded.json").read_text()


def test_columns_of_another_base_are_refused(columns: Path, real_base: Base, shards: Shards) -> None:
    with pytest.raises(UsdError, match="encoded from another base than this training's; run `usd encode`"):
        Encoded.open(columns, shards["train"], "other", shards.digest)
    with pytest.raises(UsdError, match="encoded from other shards"):
        Encoded.open(columns, shards["train"], real_base.digest(), "other")


def test_a_damaged_or_missing_column_is_named(columns: Path, real_base: Base, shards: Shards, tmp_path: Path) -> None:
    shutil.copytree(columns, tmp_path / "damaged")
    path = next((tmp_path / "damaged").glob("*.text.npy"))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UsdError, match=r"text.npy: damaged .sha256 differs from the index.; run `usd encode`"):
        opened(tmp_path / "damaged", real_base, shards)
    with pytest.raises(UsdError, match=r"nowhere: no readable encoded.json .*usd encode"):
        opened(tmp_path / "nowhere", real_base, shards)


def test_a_base_whose_codec_is_free_is_not_encoded(base: Base, shards: Shards, tmp_path: Path) -> None:
    with pytest.raises(UsdError, match="nothing to encode"):
        encode_samples(base, shards, tmp_path / "out", batch_size=16)
    assert not (tmp_path / "out").exists()


def test_the_shards_are_those_of_params_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    change([{"paths": {"shards": "elsewhere"}}], tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsdError, match=r"^elsewhere: "):
        cli.encode(tmp_path / "out")


@pytest.mark.slow
def test_a_training_on_columns_learns_the_same_and_runs_no_encoder(
    columns: Path,
    params: config.Train,  # noqa: F811
    tmp_path: Path,
    shards: Shards,
) -> None:
    annotators = write_annotators(tmp_path / "annotators")
    losses, encoded, cpu = [], [], accelerator_for(params.device, params.precision)
    for folder in ("", str(columns)):
        base = load_base(params.base)
        base.vae.encoder.register_forward_hook(lambda module, inputs, output: encoded.append(len(inputs[0])))
        changed = dataclasses.replace(params, encoded=folder, steps=1)
        _, curve = finetune(base, annotators, shards, changed, US_DIFFUSION, tmp_path / f"run-{len(losses)}", cpu)
        losses.append([row["denoising"] for row in curve])
        encoded.append(0)
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert encoded[-2:] == [0, 0]


def test_maps_of_directions_are_mirrored_as_in_training() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for field in ("normal", "depth"):
        flipped = {field: picture.copy()}
        assert augment(flipped, 1.0, (1,), "key")
        assert np.array_equal(to_array(_mirrored(field, to_tensor(picture[None])))[0], flipped[field])

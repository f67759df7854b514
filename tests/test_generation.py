"""`usd generate`: the same picture as the API gives, and a sidecar that says how to make it again."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from typer.testing import CliRunner

from usd.cli import app
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.generation import generate_files, queries_of, read_picture
from usd.pipeline import USDiffusionPipeline


@pytest.fixture
def folder(pipeline, tmp_path: Path) -> Path:
    """An untrained model, a pair and two queries."""
    pipeline.save_pretrained(tmp_path / "model")
    rng = np.random.default_rng(0)
    (tmp_path / "queries").mkdir()
    for name in ("source.png", "target.png", "queries/a.png", "queries/b b.jpg"):
        PIL.Image.fromarray(rng.integers(0, 255, (70, 90, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def arguments(folder: Path) -> list[str]:
    example = [str(folder / "source.png"), str(folder / "target.png")]
    options = ["--model", str(folder / "model"), "--steps", "2", "--seed", "5", "--prompt", "depth map"]
    return [
        "generate",
        "--query",
        str(folder / "queries"),
        "--example",
        *example,
        "--out",
        str(folder / "out"),
        *options,
    ]


def test_the_command_and_the_api_give_the_same_picture(folder: Path) -> None:
    result = CliRunner().invoke(app, arguments(folder))
    assert result.exit_code == 0, result.output
    pipeline = USDiffusionPipeline.from_pretrained(folder / "model")
    pair = (read_picture(folder / "source.png", 64), read_picture(folder / "target.png", 64))
    for name in ("a.png", "b b.jpg"):
        query = read_picture(folder / "queries" / name, 64)
        wanted = pipeline(
            "depth map",
            pair,
            query,
            timesteps=sampling_timesteps("ess", 2),
            generator=torch.Generator().manual_seed(5),
            output_type="np",
        ).images[0]
        found = folder / "out" / f"{Path(name).stem}.png"
        assert np.array_equal(np.asarray(PIL.Image.open(found)), wanted)
        note = json.loads(found.with_suffix(".json").read_text())
        assert (note["seed"], note["steps"], note["prompt"]) == (5, 2, "depth map")
        assert len(note["weights_sha256"]) >= 4
        assert sum(note["indicator"].values()) == pytest.approx(1, abs=1e-3)


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(UsdError, match=r"broken\.png: not a readable picture"):
        read_picture(folder / "broken.png", 64)
    (folder / "empty").mkdir()
    with pytest.raises(UsdError, match="no picture there"):
        queries_of(folder / "empty")
    with pytest.raises(UsdError, match="two queries are named 'a'"):
        generate_files(folder / "model", [folder / "queries/a.png"] * 2, (folder / "a", folder / "b"), None, folder)

"""`usd generate`: the same picture as the API gives, and a sidecar that says how to make it again."""

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.ingestion.scenery import image
from tests.ingestion.test_ingest import KINDS
from usd.cli import app
from usd.diffusion.timesteps import sampling_timesteps
from usd.errors import UsdError
from usd.generation.files import generate_files, queries_of, read_example, read_image
from usd.inference.arguments import check_task
from usd.inference.images import as_batch
from usd.inference.pipeline import USDiffusionPipeline


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
    pair = (read_image(folder / "source.png", 64), read_image(folder / "target.png", 64))
    for name in ("a.png", "b b.jpg"):
        query = read_image(folder / "queries" / name, 64)
        wanted = pipeline(
            pair,
            query,
            "depth map",
            timesteps=sampling_timesteps("ess", 2),
            generator=torch.Generator().manual_seed(5),
        ).images[0]
        found = folder / "out" / f"{Path(name).stem}.png"
        assert np.array_equal(PIL.Image.open(found), wanted)
        note = json.loads(found.with_suffix(".json").read_text())
        assert (note["seed"], note["steps"], note["prompt"]) == (5, 2, "depth map")
        assert len(note["weights_sha256"]) >= 4
        assert sum(note["indicator"].values()) == pytest.approx(1, abs=1e-3)


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(UsdError, match=r"broken\.png: not a readable picture"):
        read_image(folder / "broken.png", 64)
    (folder / "empty").mkdir()
    with pytest.raises(UsdError, match="no picture there"):
        queries_of(folder / "empty")
    with pytest.raises(UsdError, match="nowhere: not found"):
        queries_of(folder / "nowhere")
    with pytest.raises(UsdError, match="two queries are named 'a'"):
        generate_files(folder / "model", [folder / "queries/a.png"] * 2, (folder / "a", folder / "b"), None, folder)


def test_without_a_name_your_own_model_comes_first_then_the_one_in_git(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    asked = [word for word in arguments(folder) if word not in ("--model", str(folder / "model"))]
    found = CliRunner().invoke(app, asked)
    said = "no model: neither models/us_diffusion nor models/reference is there; run `dvc pull` or `dvc repro`"
    assert str(found.exception).startswith(said)
    assert not (folder / "out").exists()
    for name in ("reference", "us_diffusion"):
        shutil.copytree(folder / "model", folder / "models" / name)
        assert CliRunner().invoke(app, asked).stderr.startswith(f"model: models/{name}\n")


def test_no_picture_given_is_written_over(folder: Path) -> None:
    before = (folder / "queries/a.png").read_bytes()
    result = CliRunner().invoke(app, [*arguments(folder), "--out", str(folder / "queries")])
    assert isinstance(result.exception, UsdError)
    assert "a.png: the result would be written over this picture" in str(result.exception)
    assert (folder / "queries/a.png").read_bytes() == before


def test_a_name_without_room_for_that_of_the_result_is_refused_before_the_model_is_loaded(folder: Path) -> None:
    (folder / "queries/a.png").rename(folder / f"queries/{'ä' * 120}.png")
    result = CliRunner().invoke(app, [*arguments(folder), "--model", "nowhere"])
    assert "ä.png: its result would have too long a name; shorten it" in str(result.exception)


@pytest.mark.parametrize("name", ["a.png", "b b.json"])
@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_text("[]")])
def test_what_is_no_earlier_result_is_kept(folder: Path, name: str, make: Callable[[Path], object]) -> None:
    (folder / "out").mkdir()
    make(folder / "out" / name)
    result = CliRunner().invoke(app, [*arguments(folder), "--model", "nowhere"])
    assert f"{name}: exists and is not an earlier result; choose another --out" in str(result.exception)
    assert [path.name for path in folder.glob("out/*")] == [name]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--model", "nowhere", "nowhere: no such directory"),
        ("--task", "image2foo", "unknown task 'image2foo'; known: image2depth, "),
        ("--prompt", os.fsdecode(b"caf\xe9"), "prompt: not UTF-8"),
    ],
)
def test_a_bad_option_is_named_and_leaves_no_folder(folder: Path, option: str, value: str, said: str) -> None:
    result = CliRunner().invoke(app, [*arguments(folder), option, value, "--out", str(folder / "new/out")])
    assert str(result.exception).startswith(said)
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a red cube", ""),
        ("red " * 50, "warning: prompt: the model reads the first 48 of its 52 tokens; shorten it"),
        ("a 日本 😀 日本", "warning: prompt: the model does not know all letters of 日本, 😀; use other words"),
    ],
)
def test_what_the_model_does_not_read_of_a_prompt_is_said(folder: Path, prompt: str, said: str) -> None:
    result = CliRunner().invoke(app, [*arguments(folder), "--prompt", prompt])
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if line.startswith("warning")] == ([said] if said else [])


@pytest.mark.parametrize("scale", ["inf", "nan", "-1"])
def test_a_guidance_scale_that_means_nothing_is_refused_before_the_model_is_loaded(folder: Path, scale: str) -> None:
    result = CliRunner().invoke(app, [*arguments(folder), "--guidance", scale, "--model", "nowhere"])
    assert result.exit_code == 2 or f"guidance_scale: {scale} is not a finite number" in str(result.exception)


def test_a_models_own_task_is_known() -> None:
    check_task("image2mine", ["image2mine"])
    check_task("canny2image", ["image2mine"])


def test_nothing_in_a_folder_of_queries_is_passed_over_silently(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("notes.txt", ".hidden", "._a.png", "a.json"):
        (folder / "queries" / name).touch()
    (folder / "queries/more").mkdir()
    assert not [path for path in queries_of(folder / "queries") if path.name.startswith(".")]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f": {folder}/queries/more, {folder}/queries/notes.txt")
    (folder / "queries/z.png").symlink_to("nowhere")
    result = CliRunner().invoke(app, [*arguments(folder), "--model", "nowhere"])
    assert "z.png: not a readable picture" in str(result.exception)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--query", "a.png"], "--query: given twice"),
        (["--example", "a.png", "b.png"], "--example: given twice"),
        (["--out", "loop"], "loop: a link that leads nowhere; choose another --out"),
        (["--model", str(ROOT / "models/control")], "control: this model reads no example pair"),
    ],
)
def test_what_would_be_left_out_or_lead_nowhere_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], said: str
) -> None:
    monkeypatch.chdir(folder)
    Path("loop").symlink_to("loop")
    result = CliRunner().invoke(app, [*arguments(folder), *more])
    assert said in str(result.exception)
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["queries/z.png", "source.png", "target.png"])
def test_a_link_to_itself_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(Path(name).name)
    result = CliRunner().invoke(app, [*arguments(folder), "--model", "nowhere"])
    assert f"{name}: not a readable picture" in str(result.exception)


def test_one_file_is_no_pair(folder: Path) -> None:
    (folder / "same.png").symlink_to("source.png")
    with pytest.raises(UsdError, match=r"same\.png: source and target of the example pair are this one file"):
        read_example(folder / "source.png", folder / "same.png", 64)


@pytest.mark.parametrize("name", ["queries/z.png", "target.png"])
def test_a_bad_picture_is_named_before_the_model_is_loaded(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / "queries/a.png").read_bytes()[:99])
    result = CliRunner().invoke(app, [*arguments(folder), "--model", "nowhere"])
    assert f"{name}: not a readable picture" in str(result.exception)
    assert not (folder / "out").exists()


def test_all_bad_queries_are_named_at_once(folder: Path) -> None:
    for name in ("x.png", "y.png", "z.png"):
        (folder / "queries" / name).touch()
    result = CliRunner().invoke(app, [*arguments(folder), "--model", "nowhere"])
    assert str(result.exception).endswith("x.png: not a readable picture (empty: 0 bytes); and 2 more: y.png, z.png")


def test_a_place_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "out").touch()
    options = ["--out", str(folder / "out/deeper"), "--model", "nowhere"]
    result = CliRunner().invoke(app, [*arguments(folder), *options])
    assert str(result.exception).startswith(f"{folder}/out/deeper/a.png: cannot be written: ")


def test_a_disk_that_has_room_for_the_note_alone_gets_none(folder: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        result = CliRunner().invoke(app, arguments(folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(result.exception) == f"{folder}/out/a.png: could not be written: File too large"
    assert not (folder / "out").exists()


def test_every_kind_of_picture_and_name_is_taken(folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    for path in (*folder.glob("queries/*"),):
        path.unlink()
    PIL.Image.new("RGB", (20, 20)).save(folder / f"queries/{name}.tiff")
    (folder / "queries/folder.png").mkdir()
    result = CliRunner().invoke(app, arguments(folder))
    assert result.exit_code == 0, result.output
    note = json.loads((folder / f"out/{name}.json").read_text())
    assert note["query"]["path"].endswith("caf\\xe9.tiff")


def test_classes_are_not_mixed(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (8, 3), dtype=np.uint8)
    PIL.Image.fromarray(colours[np.arange(130 * 130).reshape(130, 130) // 100 % 8]).save(tmp_path / "seg.png")
    found = (read_image(tmp_path / "seg.png", 64) * 255).round().permute(0, 2, 3, 1).reshape(-1, 3)
    assert set(map(tuple, found.to(torch.uint8).tolist())) <= set(map(tuple, colours.tolist()))


def test_a_picture_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.new("RGB", (90, 90)).save(tmp_path / "a.png")
    loads = []
    load = PIL.Image.open
    monkeypatch.setattr(PIL.Image, "open", lambda *args, **options: loads.append(args) or load(*args, **options))
    read_image(tmp_path / "a.png", 64)
    assert len(loads) == 1


def test_the_api_decodes_pictures_as_the_commands_do(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (90, 90), dtype=np.uint16)
    PIL.Image.fromarray(noise).save(tmp_path / "noise.png")
    image(1, width=900, height=600).save(tmp_path / "large.jpg")
    for name in [name for name, (_, status, _) in KINDS.items() if status != "refused"]:
        KINDS[name][0](tmp_path / name)
    for path in tmp_path.iterdir():
        assert torch.equal(as_batch("query", PIL.Image.open(path), 64), read_image(path, 64)), path
    assert len(read_image(tmp_path / "noise.png", 64).unique()) > 64  # mixed, as a photograph is


@pytest.mark.parametrize("most", [1, 255, 3000])
def test_16_bits_that_are_measured_are_refused(most: int, tmp_path: Path) -> None:
    picture = PIL.Image.fromarray((np.arange(90 * 90).reshape(90, 90) % (most + 1)).astype(np.uint16))
    picture.save(tmp_path / "depth.png")
    with pytest.raises(UsdError, match=rf"depth\.png: .*16-bit values of up to {most}, .*save it with 8 bits"):
        read_image(tmp_path / "depth.png", 64)
    with pytest.raises(UsdError, match=f"^query: 16-bit values of up to {most}, "):
        as_batch("query", picture, 64)

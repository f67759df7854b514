"""`usd demo`: the API's picture and the command's, in a real browser too."""

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import ROOT
from usd.cli import app
from usd.errors import UsdError
from usd.generation.files import read_image
from usd.inference.pipeline import USDiffusionPipeline

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "data" / "examples" / "image2depth"
OTHER = ROOT / "data" / "examples" / "image2hed" / "query.png"
ROW = sorted(EXAMPLE.parent.iterdir()).index(EXAMPLE)
PROMPT, STEPS, SEED = "depth map", 3, 7


@pytest.fixture
def model(pipeline: USDiffusionPipeline, tmp_path: Path) -> Path:
    pipeline.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def url(model: Path) -> Iterator[str]:
    """The address of the page."""
    pytest.importorskip("gradio", reason="gradio, the extra `demo`, is not installed")
    from usd.generation.demo import serve

    page = serve(model, ROOT / "data" / "examples", wait=False)
    yield page.local_url
    page.close()


def by_api(model: Path, query: Path, prompt: str) -> np.ndarray:
    pipeline = USDiffusionPipeline.from_pretrained(model)
    source, target, asked = (read_image(path, 64) for path in (EXAMPLE / "source.png", EXAMPLE / "target.png", query))
    seed = torch.Generator().manual_seed(SEED)
    return np.asarray(pipeline((source, target), asked, prompt, num_inference_steps=STEPS, generator=seed).images[0])


def test_the_page_the_command_and_the_api_give_the_same_picture(model: Path, url: str, tmp_path: Path) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    example = [str(EXAMPLE / "source.png"), str(EXAMPLE / "target.png")]
    files = [gradio_client.handle_file(path) for path in (*example, str(OTHER))]
    client = gradio_client.Client(url, verbose=False, analytics_enabled=False)
    by_page, seconds, indicator = client.predict(*files, PROMPT, STEPS, SEED, api_name="/answer")
    options = ["--model", model, "--prompt", PROMPT, "--steps", STEPS, "--seed", SEED, "--out", tmp_path / "out"]
    arguments = ["generate", "--query", OTHER, "--example", *example, *options]
    assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 0
    wanted = by_api(model, OTHER, PROMPT)
    assert np.array_equal(np.asarray(PIL.Image.open(by_page)), wanted)
    assert np.array_equal(np.asarray(PIL.Image.open(tmp_path / "out" / "query.png")), wanted)
    assert seconds.endswith(" s (cpu)") or "cuda" in seconds
    assert len(indicator["confidences"]) == 3


def test_in_a_browser(model: Path, url: str) -> None:
    pytest.importorskip("playwright", reason="playwright is not installed")
    from docs.screenshot import browser, tab, try_out

    if not browser():
        pytest.skip("no Chromium: none on the path, and `playwright install chromium` has not run")
    with tab() as page:
        shown = try_out(page, url, ROW, upload=OTHER, steps=STEPS, seed=SEED)
        assert page.locator("#result img").is_visible()
        assert " s (" in page.locator("#time textarea").input_value()
    assert np.array_equal(np.asarray(PIL.Image.open(io.BytesIO(shown))), by_api(model, OTHER, ""))


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "usd.generation.demo", raising=False)
    result = CliRunner().invoke(app, ["demo"])
    assert isinstance(result.exception, UsdError)
    assert "--editable '.[demo]'" in str(result.exception)


def test_what_an_example_lacks_is_named(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio, the extra `demo`, is not installed")
    from usd.generation.demo import examples_of

    with pytest.raises(UsdError, match="no example there"):
        examples_of(tmp_path)
    shutil.copytree(EXAMPLE, tmp_path / "mine")
    (tmp_path / "mine" / "prompt.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UsdError, match=r"prompt\.txt: not readable .*; save it as UTF-8"):
        examples_of(tmp_path)
    (tmp_path / "mine" / "query.png").write_bytes(b"\x89PNG")
    with pytest.raises(UsdError, match=r"query\.png: not a readable picture"):
        examples_of(tmp_path)
    (tmp_path / "mine" / "query.png").unlink()
    with pytest.raises(UsdError, match=r"query\.png: missing"):
        examples_of(tmp_path)


@pytest.mark.parametrize(
    ("host", "port"),
    [("no.such.host", None), ("a" * 70, None), ("192.0.2.1", 8000), ("127.0.0.1", 99999), ("127.0.0.1", -1)],
)
def test_an_address_that_cannot_be_is_named_before_the_model_is_loaded(host: str, port: int | None) -> None:
    pytest.importorskip("gradio", reason="gradio, the extra `demo`, is not installed")
    from usd.generation.demo import serve

    with pytest.raises(UsdError, match=rf"usd demo: {host}.*; choose another --host or --port"):
        serve(Path("nowhere"), Path("nowhere"), host, port)

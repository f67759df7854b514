"""What `python -m flows.serve` does before it starts anything."""

import os
from contextlib import ExitStack
from pathlib import Path
from urllib.request import proxy_bypass

import pytest
import typer
from typer.testing import CliRunner

from flows import serve
from tests.test_files import exit_code, forked
from usd.errors import UsdError

REFUSED = [
    ["--port", "0"],
    ["--port", "65536"],
    ["--gpus", "0"],
    ["--notify", "chat.org/hook"],
    ["--notify", "https://"],
]


@pytest.mark.parametrize("options", REFUSED)
def test_an_option_with_which_nothing_would_run_is_refused(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "prepare", lambda url: pytest.fail("it began"))
    app = typer.Typer(add_completion=False)
    app.command()(serve.main)
    told = CliRunner().invoke(app, options)
    assert told.exit_code == 2
    assert f"Invalid value for '{options[0]}'" in told.output


@pytest.mark.parametrize(("folder", "home"), [("one", "one/.usd/prefect"), ("one", "b"), ("two", "one/.usd/prefect")])
def test_a_second_one_is_refused_whatever_its_port(
    folder: str, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the first one's runs for left over, and kill them."""

    def second() -> None:
        os.chdir(tmp_path / folder)
        with ExitStack() as stack:
            serve.be_the_only_one(tmp_path / home, stack)

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    with ExitStack() as stack:
        serve.be_the_only_one(tmp_path / "one/.usd/prefect", stack)
        assert exit_code(forked(second)) == 3


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file/prefect"))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(UsdError, match=r"file/prefect/server\.log: cannot be written: Not a directory; nothing was"):
        serve.prepare("http://127.0.0.1:4200")


@pytest.mark.parametrize("without", ["", "chat.org", "*"])
def test_the_server_is_reached_past_a_proxy(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", without)
    serve.bypass_proxy()
    assert proxy_bypass("127.0.0.1:4200")
    assert bool(proxy_bypass("chat.org")) == bool(without)

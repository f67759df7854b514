"""The `usd` command: its help teaches, and its output suits any terminal."""

import errno
import io
import sys

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from usd.cli import app, main
from usd.diff.review import printable
from usd.errors import UsdError, counted, reported

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_commands_help_has_examples_and_explains_every_option(name: str) -> None:
    command = COMMANDS[name]
    assert f"`usd {name}" in command.epilog
    assert not [parameter.name for parameter in command.params if not parameter.help.endswith(".")]
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "Examples" in shown.output


def test_the_overview_groups_the_commands() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert shown.index("Use a model") < shown.index("Prepare data") < shown.index("Work on the project")


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "a → b\n"), ("ascii", "a \\u2192 b\n")])
def test_a_terminal_that_lacks_a_character_gets_its_escape(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    with reported():
        print("a → b", flush=True)
    assert terminal.buffer.getvalue().decode() == shown


def test_bad_input_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, reported():
        raise UsdError("photos: not there; make it")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: photos: not there; make it\n"


@pytest.mark.parametrize(("path", "named"), [((), "standard output"), (("models/mine",), "models/mine")])
def test_a_full_disk_is_one_line(
    path: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(SystemExit) as ended, reported():
        raise OSError(errno.ENOSPC, "No space left on device", *path)
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: {named}: No space left on device; free some space\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["generate", "--query", ""], "a path is empty"),
        (["generate", "--query", "x" * 300], "File name too long; choose another path"),
        (["ingest", "tests", "--out", ""], "a path is empty"),
        (["ingest", "tests", "--size", "64", "--out", "x" * 300], "File name too long; choose another path"),
    ],
)
def test_a_path_that_is_none_is_one_line(
    command: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--out", "out", "--example", "a.png", "b.png"] if command[0] == "generate" else []
    monkeypatch.setattr(sys, "argv", ["usd", *command, *more])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_page_for_an_ascii_terminal_has_character_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert printable("<p>a → b</p>", "html") == "<p>a &#8594; b</p>"
    assert printable("a → b", "md") == "a → b"  # `reported` shows it as an escape


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["stage"])

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended, reported():
        typer.run(interrupted)
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip() == "interrupted; nothing is left half done: run it again"


def test_one_is_counted_as_one() -> None:
    assert [counted(number, "sample") for number in (0, 1, 2)] == ["0 samples", "1 sample", "2 samples"]
    assert counted(1, "weight does", "weights do") == "1 weight does"
    assert counted(2, "weight does", "weights do") == "2 weights do"

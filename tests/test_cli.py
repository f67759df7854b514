"""The `usd` command: its help teaches."""

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from usd.cli import app

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

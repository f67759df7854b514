"""What `python -m flows.serve` refuses before it starts anything."""

import pytest
import typer
from typer.testing import CliRunner

from flows import serve


@pytest.mark.parametrize("options", [["--port", "0"], ["--port", "65536"], ["--gpus", "0"]])
def test_an_option_with_which_nothing_would_run_is_refused(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "prepare", lambda url: pytest.fail("it began"))
    app = typer.Typer(add_completion=False)
    app.command()(serve.main)
    told = CliRunner().invoke(app, options)
    assert told.exit_code == 2
    assert f"Invalid value for '{options[0]}'" in told.output

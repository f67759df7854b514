"""Parameters before and after."""

import pytest

from tests.diff.project import Project

pytestmark = pytest.mark.slow


def test_a_parameter_change_names_before_after_and_the_stages(project: Project) -> None:
    project.edit("params.yaml", lambda params: params["annotate"].update(canny_low=70, note="a|b `c` <d>"))
    project.edit("params.yaml", lambda params: params["gate"].pop("speedup"))
    project.commit()
    text = project.review()
    assert "parameters: 3 changed" in text.splitlines()[0]
    assert "| `annotate.canny_low` | `60` | `70` |" in text
    assert "| `annotate.note` | — | `\"a\\|b 'c' <d>\"` |" in text
    assert "| `gate.speedup` | `5.0` | — |" in text
    assert "| `annotate` | params.yaml: annotate.canny\\_low; params.yaml: annotate.note |" in text
    assert "Unchanged: data, validation, metrics, figures." in text
    assert "a|b `c` &lt;d&gt;" in project.review(form="html")

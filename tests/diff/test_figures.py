"""Pictures side by side."""

import re

import pytest

from tests.diff.project import Project, tile

pytestmark = pytest.mark.slow


def test_figures_are_side_by_side(project: Project) -> None:
    project.write("results/us_diffusion/image2depth.png", tile(99))
    project.git("rm", "--quiet", "results/curves.png")
    project.commit()
    text, page = project.review(), project.review(form="html")
    assert "figures: 2 changed" in text.splitlines()[0]
    assert "- `results/curves.png` removed\n- `results/us_diffusion/image2depth.png` changed" in text
    assert page.count('src="data:image/png;base64,') == 3
    assert not re.search(r'(src|href)="(?!data:)', page)

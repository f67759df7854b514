"""Samples by key, counts, distributions and pictures."""

import re
import shutil
from pathlib import Path

import pytest

from tests.diff.project import SAMPLES, SUMMARY, Project
from usd.diff.data import digests
from usd.diff.html import html
from usd.diff.markdown import markdown
from usd.diff.review import review
from usd.diff.revision import find
from usd.errors import UsdError

pytestmark = pytest.mark.slow


def test_a_data_change_names_the_keys_and_shows_pictures(pictured: Project) -> None:
    project = pictured
    text = project.review()
    assert "data: 1 added, 1 removed, 1 changed samples" in text.splitlines()[0]
    assert "| `any` | 20 | 20 → 21 | 20 → 19 |\n| `image2depth` | 20 | 20 → 21 | 20 → 19 |" in text
    assert "| `image2normal` | 0 | 20 → 21 | 20 → 19 |" in text
    assert "| depth | train | 0.5 ± 0.1 | 0.56 ± 0.1 | 0.60 | **moved far** |" in text
    assert "| brightness | val | 0.5 ± 0.1 | 0.51 ± 0.1 | 0.10 |  |" in text
    assert "| duck: share of images | train → test | 0.5 ± 0.5 | 0.9 ± 0.3 | 0.80 | **moved far** |" in text
    for key, kind in (("val-00020", "added"), ("test-00003", "removed"), ("train-00001", "changed")):
        assert f"<summary>Samples {kind}: 1</summary>\n\n| key |\n|---|\n| `{key}` |" in text
    page = project.review(form="html")
    assert page.count("<img") == 4  # before and after of the changed sample, one each of the others
    shutil.rmtree(project.root / ".dvc")
    without = review("base", "HEAD", project.root)
    assert "<img" not in html(without)
    assert markdown(without).splitlines()[0] == text.splitlines()[0]
    assert project.regressions() == []


def test_a_configuration_that_dvc_cannot_read_is_one_line(pictured: Project) -> None:
    pictured.write(".dvc/config", "[core\n")
    with pytest.raises(UsdError, match=r"\.dvc/config or \.dvcignore: DVC cannot read it .*; restore it") as caught:
        review("base", "HEAD", pictured.root)
    assert "\n" not in str(caught.value)


def test_keys_are_unknown_where_a_revision_does_not_list_them(project: Project) -> None:
    project.git("rm", "--quiet", SAMPLES)
    project.edit(SUMMARY, lambda found: found.update(digest="another"))
    project.commit()
    text = project.review()
    assert "data: changed" in text.splitlines()[0]
    assert re.search(r"The keys of the samples are not known at HEAD \(\w{10}\)\.", text)


def test_the_list_of_samples_is_read_as_validate_writes_it(tmp_path: Path) -> None:
    import pandas as pd

    from usd.validation.summary import as_samples

    table = pd.DataFrame({"key": ["val-2", "train-1"], "sample_hash": [b"\xaa" * 32, b"\xbb" * 32]})
    project = Project(tmp_path)
    project.git("init", "--quiet")
    project.write(SAMPLES, as_samples(table))
    assert digests(find("workspace", tmp_path)) == {"train-1": "b" * 12, "val-2": "a" * 12}
    assert (tmp_path / SAMPLES).read_text() == f"key,digest\ntrain-1,{'b' * 12}\nval-2,{'a' * 12}\n"

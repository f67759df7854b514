"""Expectations that newly fail, are fixed, or are not checked any more."""

from typing import Any

import pytest

from tests.diff.project import SUMMARY, Project
from usd.diff.review import review

pytestmark = pytest.mark.slow


def test_a_failing_expectation_is_named(project: Project) -> None:
    project.edit(SUMMARY, lambda found: found["expectations"][1].update(passed=False))
    project.commit()
    assert project.regressions() == ["validation newly fails: depth is positive"]
    assert "| depth is positive | **newly fails** |" in project.review()
    assert "| depth is positive | **still fails** |" in project.review("HEAD")
    assert "validation: 1 fixed" in review("HEAD", "base", project.root, tip=True).headline


def test_an_expectation_that_is_no_longer_checked_is_told(project: Project) -> None:
    project.edit(SUMMARY, lambda found: found["expectations"].pop(0))
    project.commit()
    assert project.regressions() == ["validation no longer checks: keys are unique"]
    assert "| keys are unique | **no longer checked** |" in project.review()


def test_an_expectation_with_another_bound_is_the_same(project: Project) -> None:
    worse = []
    for words, passed in ((9, True), (12, True), (15, False), (18, False)):
        named = {"name": f"captions have {words} words", "passed": passed}
        project.edit(SUMMARY, lambda found, named=named: found["expectations"][0].update(named))
        project.commit()
        worse.append(review("HEAD~1", "HEAD", project.root).regressions)
    assert worse[1:] == [[], ["validation newly fails: captions have 15 words"], []]


def test_two_expectations_of_one_name_do_not_hide_each_other(project: Project) -> None:
    project.edit(SUMMARY, lambda found: found["expectations"][0].update(passed=False))
    project.commit()
    project.edit(SUMMARY, lambda found: found["expectations"][0].update(id="another"))
    project.commit()
    assert review("HEAD~1", "HEAD", project.root).regressions == ["validation newly fails: keys are unique"]


def test_a_summary_of_an_earlier_form_is_compared_by_name(project: Project) -> None:
    """Without ids, tasks or the deviation of a class's area, as the first ones."""

    def age(found: Any) -> None:
        del found["tasks"]
        for row in (*found["expectations"], *(split["classes"]["duck"] for split in found["splits"].values())):
            row.pop("id" if "id" in row else "std")

    project.edit(SUMMARY, age)
    project.commit()
    assert project.regressions() == []
    project.edit(SUMMARY, lambda found: found["expectations"][0].update(passed=False))
    project.commit()
    assert project.regressions() == ["validation newly fails: keys are unique"]

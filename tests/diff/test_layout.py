"""What is marked in a review, the same in both formats."""

import pytest

from usd.diff.html import html
from usd.diff.layout import BAD, GOOD, NONE, Review, Section, Table
from usd.diff.markdown import markdown


def review(*rows: list[str]) -> Review:
    section = Section("Metrics", "1", tables=[Table("", ["name", "verdict"], list(rows))])
    return Review("a", "b", {"metrics": "1"}, [], [], [section])


@pytest.mark.parametrize("verdict", sorted(BAD | GOOD | {"within noise", "new", "changed"}))
def test_both_formats_mark_the_same_verdicts(verdict: str) -> None:
    found = review(["rmse", verdict])
    assert (f'<td class="bad">{verdict}</td>' in html(found)) == (verdict in BAD)
    assert (f'<td class="good">{verdict}</td>' in html(found)) == (verdict in GOOD)
    assert (f"**{verdict}**" in markdown(found)) == (verdict in BAD)


def test_a_name_out_of_a_file_is_no_verdict() -> None:
    found = review(["gone", NONE], [NONE, "better"])
    assert "<td><code>gone</code></td>" in html(found)
    assert "| `gone` | — |" in markdown(found)
    assert f"<td>{NONE}</td>" in html(found)
    assert f"| {NONE} | better |" in markdown(found)

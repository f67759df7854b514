"""Captions: what is no text is not taken for one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingestion.scenery import save, sight, take
from usd.data.record import read_manifest
from usd.ingestion.captions import from_text
from usd.ingestion.pictures import Refused


@given(st.lists(st.lists(st.floats(), min_size=5, max_size=5), min_size=1, max_size=3))
def test_labels_of_boxes_are_no_caption(rows: list[list[float]]) -> None:
    text = "\n".join(" ".join(f"{value:g}" for value in row if abs(value) < 1e300) for row in rows)
    with pytest.raises(Refused, match=r"numbers only: a label file|no text in it"):
        from_text(text)


@pytest.mark.parametrize("text", ["2 cats", "🐈", "Ⅳ 4e", "7 猫", "no. 5"])
def test_a_word_makes_a_caption(text: str) -> None:
    assert from_text(text) == text


def test_a_label_file_beside_a_picture_is_named(tmp_path: Path) -> None:
    save(tmp_path / "source/red_car.png", sight(1))
    (tmp_path / "source/red_car.txt").write_text("0 0.51 0.48 0.2 0.3\n1 1e-05 0.5 0.1 0.1\n")
    assert take(tmp_path)["red_car.txt"].detail.startswith("numbers only: a label file?")
    assert list(read_manifest(tmp_path / "out")["caption"]) == ["red car"]


@pytest.mark.parametrize("other", ["00000/p0.json", "00000/p0.CR2", "00000/labels/p0.txt"])
def test_no_other_file_takes_a_captions_place(other: str, tmp_path: Path) -> None:
    for name in ("p0", "p1"):
        save(tmp_path / f"source/00000/{name}.jpg", sight(ord(name[1])))
        (tmp_path / f"source/00000/{name}.txt").write_text(f"a caption of {name}")
    (tmp_path / "source" / other).parent.mkdir(exist_ok=True)
    (tmp_path / "source" / other).write_text("0 0.5 0.5 0.2 0.2")
    assert take(tmp_path)[other].status == "refused"
    assert sorted(read_manifest(tmp_path / "out")["caption"]) == ["a caption of p0", "a caption of p1"]

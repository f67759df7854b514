"""Captions: what is no text is not taken for one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ingestion.scenery import notes, save, sight, take
from usd.data.record import read_manifest
from usd.errors import UsdError
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


def test_a_text_file_of_several_captions_is_noted(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"source/{number}.png", sight(number))
        (tmp_path / f"source/{number}.txt").write_text("a bird\n\n" if number == 0 else "a bird\na small bird\n")
    take(tmp_path)
    assert "several lines, which make one caption: 2, such as 1.txt; if not, keep one line" in notes(tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    {
        "metadata.parquet": ".parquet is not read: save its pictures as files, and its texts as metadata.jsonl",
        "0.caption": ".caption is not read: call it .txt",
        "0.npy": "if it is a map, let its name say which, such as a.depth.npy beside a.jpg",
        "00000.tar": ".tar is not read: unpack it",
        "seeds.json": "if this is InstructPix2Pix's layout, say --layout instruct-pix2pix",
        "captions.txt": "a table of captions is called metadata.csv, and has the columns file_name and text",
    }.items(),
)
def test_captions_and_pictures_in_another_form_have_their_remedy(name: str, remedy: str, tmp_path: Path) -> None:
    save(tmp_path / "source/0.png", sight(1))
    (tmp_path / "source" / name).write_text("image,caption\n0.png,a bird\n")
    found = take(tmp_path)[name]
    assert found.status == "refused"
    assert found.detail.endswith(f"; {remedy}")


@pytest.mark.parametrize("folder", ["@eaDir/0.png", "$RECYCLE.BIN", "__MACOSX", "lost+found", ".trash"])
def test_pictures_of_the_system_are_not_read(folder: str, tmp_path: Path) -> None:
    save(tmp_path / "source/0.png", sight(1))
    save(tmp_path / f"source/{folder}/1.png", sight(2))
    assert "folder" in take(tmp_path)[folder.split("/")[0]].detail
    assert list(read_manifest(tmp_path / "out")["source"]) == ["0.png"]


def test_files_that_are_taken_together_are_one_reason(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"source/{number}.png", sight(number))
        save(tmp_path / f"source/{number}_depth.png", sight(number)[..., 0].astype("uint16"))
    with pytest.raises(
        UsdError, match=r"depth values of 16 bits.*\(3\), taken with all its files or not at all \(3\)$"
    ):
        take(tmp_path)

"""Tables: each row is served or refused by name, and what is no path is none."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.ingestion.scenery import save, sight
from usd.data.record import read_manifest
from usd.errors import UsdError
from usd.ingestion.checking import OUTSIDE
from usd.ingestion.findings import Finding
from usd.ingestion.ingest import Options, ingest
from usd.ingestion.texts import PLACES

DEPTH = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (72, 1))


def take(root: Path, text: str, table: str = "metadata.csv") -> list[str]:
    """What the report says of a table, beside three pictures."""
    for number in range(3):
        save(root / f"source/{number}.png", sight(number))
    (root / "source" / table).write_text(text)
    found: list[Finding] = ingest(root / "source", root / "out", Options(size=32))
    return [each.detail for each in found if each.file == table and each.status == "refused"]


def captions(root: Path) -> list[str]:
    return list(read_manifest(root / "out").sort_values("source")["caption"])


def test_the_name_of_a_class_is_no_map(tmp_path: Path) -> None:
    assert not take(tmp_path, "file_name,text,label\n0.png,a,cat\n1.png,b,dog\n2.png,c,v1.5 cat\n")
    assert captions(tmp_path) == ["a", "b", "c"]


def test_a_map_may_belong_to_several_pictures(tmp_path: Path) -> None:
    save(tmp_path / "source/plane.png", DEPTH)
    rows = [{"file_name": f"{n}.png", "text": f"{n}", "depth_file_name": "plane.png"} for n in (0, 1, 2, 2)]
    assert not take(tmp_path, "\n".join(map(json.dumps, rows)), "metadata.jsonl")
    assert read_manifest(tmp_path / "out")["depth_sha256"].notna().tolist() == [True] * 3


@pytest.mark.parametrize("outside", [True, False])
def test_a_map_outside_of_the_source_is_refused(outside: bool, tmp_path: Path) -> None:
    save(tmp_path / "dd/0.png", DEPTH)
    save(tmp_path / "source/train/9.png", sight(9))
    save(tmp_path / "source/dd/0.png", DEPTH)
    row = {"file_name": "9.png", "text": "a", "depth_file_name": "../../dd/0.png" if outside else "../dd/0.png"}
    (tmp_path / "source/train/metadata.jsonl").write_text(json.dumps(row))
    assert not take(tmp_path, "file_name,text\n0.png,a")
    table = read_manifest(tmp_path / "out").set_index("source")
    assert ("train/9.png" in table.index) != outside
    report = (tmp_path / "out/report.csv").read_text()
    assert ('../dd/0.png,refused,"outside the folder of pictures, which alone is read' in report) == outside


@pytest.mark.parametrize("text", [["a", "b"], {"en": "a"}, float("nan"), 7])
def test_a_caption_that_is_no_text_is_refused(text: object, tmp_path: Path) -> None:
    rows = [{"file_name": "0.png", "text": text}, {"file_name": "1.png", "text": "b"}]
    (said,) = take(tmp_path, "\n".join(map(json.dumps, rows)), "metadata.jsonl")
    assert said.startswith("not in its form: line 1: text must be one text, found ")
    assert captions(tmp_path) == ["0", "b", "2"]


def test_a_second_caption_is_named(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/metadata.csv").write_text("file_name,text\n0.png,a\n1.png,b\n1.png,c\n")
    rows = [{"file_name": "0.png", "text": "a"}, {"file_name": "1.png", "text": "d"}]
    assert take(tmp_path, "\n".join(map(json.dumps, rows)), "metadata.jsonl") == [
        "its text for 1.png is not used, as another caption came first; keep one"
    ]
    assert 'metadata.csv,refused,"its text for 1.png' in (tmp_path / "out/report.csv").read_text()
    assert captions(tmp_path) == ["a", "b", "2"]


GOOD = '{"file_name": "1.png", "text": "b"}\n'


@pytest.mark.parametrize(
    ("table", "text", "line", "why"),
    [
        ("metadata.csv", "file_name,text\n0.png,a cat, asleep\n1.png,b\n", 2, "more values than columns; put a text"),
        ("metadata.csv", 'file_name,text\n1.png,b\n0.png,"a"b\n', 3, "',' expected after '\"'; correct its quotes"),
        ("metadata.csv", "file_name,text\n,a\n1.png,b\n", 2, "no file_name; it must name the picture"),
        ("metadata.jsonl", GOOD + '{"file', 2, "Unterminated string"),
        ("metadata.jsonl", f"[]\n{GOOD}[]", 1, "must be an object"),
        ("metadata.jsonl", GOOD + '{"text": "b"}', 2, "no file_name"),
        ("metadata.jsonl", GOOD + r'{"file_name": "\u0000.png"}', 2, "a path with characters"),
        ("metadata.jsonl", GOOD + r'{"file_name": "\ud800.png"}', 2, "a path with characters"),
        ("metadata.jsonl", GOOD + r'{"file_name": "0.png", "depth": "\u0000.png"}', 2, "a path with characters"),
    ],
)
def test_a_bad_line_is_named_and_loses_no_other(table: str, text: str, line: int, why: str, tmp_path: Path) -> None:
    (said,) = take(tmp_path, text, table)
    assert said.startswith(f"not in its form: line {line}: {why}")
    assert said.endswith(" (2 such rows)") == (text.count("[]") == 2)
    assert captions(tmp_path) == ["0", "b", "2"]


@pytest.mark.parametrize("header", ["File_Name,Text", "filename, text", "file name,caption", "file_name;text"])
def test_a_header_may_be_spelt_otherwise_but_not_without_commas(header: str, tmp_path: Path) -> None:
    said = take(tmp_path, f"{header}\n0.png,a\n")
    if ";" in header:
        assert said == ["not in its form: line 1: no column file_name; it must be such as file_name,text, with commas"]
    else:
        assert not said
        assert captions(tmp_path)[0] == "a"


@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl"])
def test_a_split_of_a_table_is_kept(table: str, tmp_path: Path) -> None:
    names = {"0.png": "test", "1.png": "validation", "2.png": "Train"}
    rows = [{"file_name": name, "text": "a cat", "split": split} for name, split in names.items()]
    lines = ["file_name,text,split", *(",".join(row.values()) for row in rows)]
    assert not take(tmp_path, "\n".join(lines if table.endswith("csv") else map(json.dumps, rows)), table)
    assert list(read_manifest(tmp_path / "out").sort_values("source")["split"]) == ["test", "val", "train"]


@pytest.mark.parametrize("column", ["depth_file_name", "depth_filename", "Depth-Path", "depth"])
def test_a_map_of_a_table_is_no_picture(column: str, tmp_path: Path) -> None:
    save(tmp_path / "source/plane.png", DEPTH)
    assert not take(tmp_path, json.dumps({"file_name": "0.png", "text": "a", column: "plane.png"}), "metadata.jsonl")
    found = read_manifest(tmp_path / "out").set_index("source")
    assert sorted(found.index) == ["0.png", "1.png", "2.png"]
    assert isinstance(found.loc["0.png", "depth_sha256"], str)


@pytest.mark.parametrize(
    ("table", "text", "why"),
    [
        (
            "metadata.jsonl",
            '{"file_name": "0.png", "split": "dev set"}',
            "line 1: 'dev set' is not a split; expected tr",
        ),
        ("metadata.jsonl", GOOD + '{"file_name": "0.png", "split": ["test"]}', "line 2: \"['test']\" is not a split"),
        ("metadata.csv", "file_name,split\n0.png,1\n", "line 2: '1' is not a split; expected train, val, test"),
        ("metadata.csv", "file_name,split\n0.png,test\n0.png,val\n", "0.png is in two splits; keep one"),
        (
            "metadata.jsonl",
            '{"file_name": "0.png", "depth": ["a.png"]}',
            "line 1: depth must be one path, found ['a.pn",
        ),
        ("metadata.jsonl", '{"file_name": "0.png", "mask": {"path": "a.png"}}', "line 1: mask must be one path"),
        ("metadata.jsonl", '{"file_name": "0.png", "depth_filename": 7}', "line 1: depth_filename must be one path"),
        (
            "metadata.csv",
            "file_name,depth_file\n0.png,1.png\n",
            "line 2: column depth_file names a file: if it is a map",
        ),
        (
            "metadata.csv",
            "file_name,depth,depth_path\n0.png,1.png,2.png\n",
            "line 2: depth_path is a second column for depth",
        ),
        ("metadata.csv", "file_name,split,Split\n0.png,test,val\n", "line 1: split appears twice; keep one"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": "a", "text": "b"}', "line 1: text appears twice"),
        ("metadata.jsonl", '{"file_name": "0.png", "text": "a", "Text": "b"}', "line 1: text appears twice"),
    ],
)
def test_what_would_misuse_a_picture_ends_it(table: str, text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsdError, match=re.escape(f"source/{table}: {why}")):
        take(tmp_path, text, table)
    assert not (tmp_path / "out").exists()


def test_maps_of_other_kinds_are_no_pictures(tmp_path: Path) -> None:
    for name in ("p.png", "s.png"):
        save(tmp_path / "source" / name, DEPTH)
    assert not take(tmp_path, "file_name,text,pose_path,sketch\n0.png,a,p.png,s.png\n1.png,standing,,\n")
    assert sorted(read_manifest(tmp_path / "out")["source"]) == ["0.png", "1.png", "2.png"]
    assert 'p.png,refused,"a map of another kind' in (tmp_path / "out/report.csv").read_text()


def test_columns_of_classes_are_no_paths(tmp_path: Path) -> None:
    row = {"file_name": "0.png", "text": "a", "labels": [1, 2], "mask": True, "edges": 5, "pose": [[1, 2]]}
    assert not take(tmp_path, json.dumps(row | {"label": 3, "objects": {"bbox": []}}), "metadata.jsonl")
    assert not take(tmp_path, "file_name,text,,\n0.png,a,,\n")


def test_a_caption_finds_its_image_in_another_letter_case(tmp_path: Path) -> None:
    save(tmp_path / "source/s0.png", sight(9))
    (tmp_path / "source/S0.TXT").write_text("a caption")
    assert not take(tmp_path, "file_name,text\n0.png,a")
    assert captions(tmp_path)[-1] == "a caption"


@pytest.mark.parametrize(
    ("table", "text", "why"),
    [
        (
            "metadata.csv",
            "file_name;text\n0.png;a\n",
            "not in its form: line 1: no column file_name; it must be such as",
        ),
        (
            "metadata.jsonl",
            '[{"file_name": "0.png"},\n {"file_name": "1.png"}]',
            "not in its form: line 1: a list; write",
        ),
        (
            "prompt.json",
            '{"input": "a", "edit": "b", "output": "c"}',
            "line 1: no file_name; if this is InstructPix2Pix",
        ),
    ],
)
def test_a_table_of_which_no_row_can_be_used_is_refused_alone(table: str, text: str, why: str, tmp_path: Path) -> None:
    (said,) = take(tmp_path, text, table)
    assert why in said
    assert f"{table},accepted" not in (tmp_path / "out/report.csv").read_text()


@pytest.mark.parametrize("text", ["nan", "NULL", "None", "n/a"])
def test_what_programs_write_for_no_text_is_none(text: str, tmp_path: Path) -> None:
    assert take(tmp_path, f"file_name,text\n0.png,{text}\n1.png,b\n") == ["has no text for 0.png"]
    assert captions(tmp_path) == ["0", "b", "2"]


def test_a_column_of_texts_is_named(tmp_path: Path) -> None:
    said = take(tmp_path, "file_name,description\n0.png,a\n")
    assert said == ["has no text for 0.png: no column text, caption, prompt"]


@pytest.mark.parametrize(
    ("name", "said"),
    {
        "{root}/source/0.png": "",
        "{root}/elsewhere/0.png": f"{OUTSIDE}; write ../0.png for 0.png",
        "{root}/elsewhere/8.png": f"{OUTSIDE}; copy it there",
        "../../elsewhere/8.png": f"{OUTSIDE}; copy it there",
        "sub/9.png": f"{PLACES}; write 9.png for sub/9.png",
        "sub/9.PNG": f"{PLACES}; write 9.png for sub/9.png",
        "images/0.png": f"{PLACES}; write ../0.png for 0.png",
        "8.png": PLACES,
    }.items(),
)
def test_paths_of_a_table_start_at_its_folder(name: str, said: str, tmp_path: Path) -> None:
    save(tmp_path / "source/sub/9.png", sight(9))
    path = name.format(root=tmp_path)
    (tmp_path / "source/sub/metadata.jsonl").write_text(json.dumps({"file_name": path, "text": "a cat"}))
    assert not take(tmp_path, "file_name,text\n1.png,b\n")
    report = (tmp_path / "out/report.csv").read_text()
    taken = name.startswith("{root}/source")
    assert (f'sub/metadata.jsonl,refused,"names {path}, which is not a usable image: it is {said}"' in report) != taken
    assert captions(tmp_path) == ["a cat" if taken else "0", "b", "2", "9"]


@pytest.mark.parametrize("name", ["{root}/source/plane.png", "maps/plane.png"])
def test_a_map_of_a_table_may_be_named_from_the_top(name: str, tmp_path: Path) -> None:
    save(tmp_path / "source/plane.png", DEPTH)
    row = {"file_name": "0.png", "text": "a", "depth_file_name": name.format(root=tmp_path)}
    assert not take(tmp_path, json.dumps(row), "metadata.jsonl")
    report = (tmp_path / "out/report.csv").read_text()
    missing = "maps/plane.png,refused,not there; paths in a table are relative to its folder"
    assert (missing in report) != name.startswith("{root}")
    assert ("1 depth maps read as" in report) == name.startswith("{root}")

"""`usd ingest`: every file gets its documented answer, and the later stages read what is made."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import PIL.ImageCms
import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.ingestion.scenery import image, sight
from usd.annotators.bundled import PerceptionNet
from usd.cli import app
from usd.config.profiles import apply
from usd.data.record import field_path, read_manifest
from usd.data.shards import Shards
from usd.errors import UsdError
from usd.files import path_text
from usd.images import read_png
from usd.ingestion.findings import DATASET, Finding
from usd.ingestion.ingest import Options, ingest
from usd.ingestion.pictures import MOST_BYTES, read_picture
from usd.stages import annotate, shard, validate
from usd.tasks import FIELDS


def grey16(seed: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(sight(seed)[..., 0].astype(np.uint16) * 257)


def bomb(path: Path) -> None:
    """A small PNG that says it has 2.5 gigapixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(data + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


def truncated(path: Path, share: float = 0.5, end: bytes = b"") -> None:
    data = BytesIO()
    image(2).save(data, path.suffix[1:].replace("jpg", "jpeg"))
    path.write_bytes(data.getvalue()[: int(share * len(data.getvalue()))] + end)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


def locked(path: Path) -> None:
    image(3).save(path)
    path.chmod(0)


def folder_named_like_a_picture(path: Path) -> None:
    path.mkdir()
    image(4).save(path / "inside.png")


def mended(seed: int = 5, **options: object) -> Callable[[Path], None]:
    """A picture saved with options."""
    return lambda path: image(seed).save(path, **options)  # type: ignore[arg-type]


def exif(kind: int, data: bytes) -> bytes:
    """EXIF with an orientation of another type than it should have: 2 is text, 5 a rational number."""
    value, rest = (data.ljust(4, b"\0"), b"") if len(data) <= 4 else (struct.pack(">I", 26), data)
    count = 1 if kind == 5 else len(data)
    return b"Exif\0\0MM\0*" + struct.pack(">IHHHI", 8, 1, 274, kind, count) + value + bytes(4) + rest


EXIF = PIL.Image.Exif()
EXIF[274] = 6
SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
OTHER = SRGB.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))  # one that is not sRGB by its name
GOOD = "accepted"
KINDS: dict[str, tuple[Callable[[Path], object], str, str]] = {  # file → how to make it, its answer, how that begins
    "empty.jpg": (Path.touch, "refused", "empty"),
    "half a.jpg": (truncated, "refused", "damaged"),
    "half b.png": (truncated, "refused", "damaged"),
    "half c.jpg": (lambda path: truncated(path, end=bytes(600)), "refused", "damaged: zeros where its end should be"),
    "padded.jpg": (lambda path: truncated(path, 1.0, bytes(600)), GOOD, ""),
    "header.png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "refused", "not a picture"),
    "text.jpg": (lambda path: path.write_text("<html>"), "refused", "not a picture, but a web page"),
    "bomb.png": (bomb, "refused", "more than 100 megapixels"),
    "huge.jpg": (huge, "refused", "larger than 256 MiB"),
    "dot.png": (lambda path: PIL.Image.new("RGB", (1, 1)).save(path), "refused", "1x1 pixels"),
    "film.gif": (lambda path: image(6).save(path, save_all=True, append_images=[image(7)]), "refused", "animated"),
    "animated.png": (lambda path: image(6).save(path, save_all=True, append_images=[image(7)]), "refused", "animated"),
    "pages.tif": (lambda path: image(6).save(path, save_all=True, append_images=[image(7)]), "refused", "animated"),
    "float.tif": (lambda path: image(6, "F").save(path), "refused", "neither 8 nor 16 bits"),
    "blank.png": (lambda path: PIL.Image.new("RGB", (40, 40), "red").save(path), "refused", "blank"),
    "locked.png": (locked, "refused", "not readable: Permission denied"),
    "loop.jpg": (lambda path: path.symlink_to(path.name), "refused", "not readable"),
    "nowhere.jpg": (lambda path: path.symlink_to("missing.jpg"), "refused", "not readable: No such file"),
    "round": (lambda path: path.symlink_to("..", target_is_directory=True), "refused", "a link to a folder"),
    "pipe.jpg": (os.mkfifo, "refused", "not a regular file"),
    "raw.heic": (lambda path: path.write_bytes(b"data"), "refused", "not a picture, map"),
    "camera.jfif": (Path.touch, "refused", "not a picture, map, metadata file, or an image's only caption; .jfif is"),
    ".hidden.jpg": (lambda path: image(1).save(path), "refused", "a hidden file"),
    "album.jpg": (folder_named_like_a_picture, "refused", "a folder, not a picture"),
    "other.depth.png": (lambda path: image(8).save(path), "refused", "a map without its image"),
    "lonely.txt": (lambda path: path.write_text("a caption"), "refused", "a caption without its image"),
    "good.txt": (lambda path: path.write_bytes(b"caf\xe9"), "refused", "not UTF-8; save it as UTF-8"),
    "two words.txt": (lambda path: path.write_text(" \n"), "refused", "no text in it"),
    "metadata.jsonl": (lambda path: path.write_text("{"), "refused", "not in its form"),
    "metadata.csv": (lambda path: path.write_text("file_name,text\nx.jpg,y"), "refused", "names x.jpg"),
    "good.canny.png": (lambda path: image(9).save(path), "refused", "a canny map is made"),
    "png.jpg": (mended(format="PNG"), "repaired", "wrong extension"),
    "oriented by text.jpg": (mended(20, exif=exif(2, b"6\0")), GOOD, ""),
    "oriented by nothing.jpg": (mended(21, exif=exif(5, struct.pack(">II", 3, 0))), GOOD, ""),
    "oriented by a rational.jpg": (mended(22, exif=exif(5, struct.pack(">II", 6, 1))), "repaired", "EXIF rotation"),
    "turned.jpg": (mended(exif=EXIF), "repaired", "EXIF rotation"),
    "palette.gif": (lambda path: image(10, "P").save(path), "repaired", "palette"),
    "grey.JPEG": (lambda path: image(11, "L").save(path), "repaired", "grey"),
    "grey16.png": (lambda path: grey16(12).save(path), "repaired", "16-bit, grey"),
    "alpha.png": (lambda path: image(13, "RGBA").save(path), "repaired", "alpha"),
    "cmyk.jpg": (lambda path: image(14, "CMYK").save(path), "repaired", "CMYK"),
    "profile.png": (mended(icc_profile=OTHER), "repaired", "ICC profile"),
    "broken profile.png": (mended(icc_profile=b"profile"), "repaired", "ICC profile dropped"),
    "two words.jpg": (lambda path: image(15).save(path), GOOD, ""),
    "two\nlines.jpg": (lambda path: image(16).save(path), GOOD, ""),
    "größe-日本🙂.jpg": (lambda path: image(17).save(path), GOOD, ""),
    os.fsdecode(b"bytes\xff.jpg"): (lambda path: image(18).save(path), GOOD, ""),
    "good.jpg": (lambda path: image(1).save(path), GOOD, ""),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """What became of every kind of file, all of them in one folder."""
    folder = tmp_path_factory.mktemp("kinds")
    source = folder / "source"
    source.mkdir()
    for name, (make, _, _) in KINDS.items():
        make(source / name)
    before = {path: path.lstat().st_mtime_ns for path in source.rglob("*")}
    found: dict[str, list[Finding]] = {}
    for finding in ingest(source, folder / "out", Options(size=64)):
        found.setdefault(finding.file, []).append(finding)
    assert {path: path.lstat().st_mtime_ns for path in source.rglob("*")} == before
    assert set(found) - {DATASET} == {path_text(path.relative_to(source)) for path in before}  # none is lost
    report = pd.read_csv(folder / "out/report.csv", keep_default_na=False)
    assert set(report["file"]) == set(found)
    manifest = read_manifest(folder / "out")
    assert set(manifest["key"]) == set(report["key"]) - {""}
    assert set(manifest["source"]) == {file for file, each in found.items() if each[0].key}
    assert manifest["key"].str.fullmatch(r"(train|val|test)-[0-9a-f]{16}").all()
    return found


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file_has_its_answer(name: str, answers: dict[str, list[Finding]]) -> None:
    if name == "locked.png" and os.geteuid() == 0:
        pytest.skip("nothing is locked to root")
    _, status, detail = KINDS[name]
    finding = answers[path_text(Path(name))][-1]
    assert finding.status == status
    assert finding.detail.startswith(detail) if status == "refused" else finding.detail == detail
    assert bool(finding.key) == (status != "refused")


def test_a_picture_is_taken_with_all_its_maps_or_not_at_all(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("images", "depth", "seg", "normal"):
        (source / name).mkdir(parents=True)
    for name in ("a", "b", "c", "d"):
        image(ord(name)).save(source / f"images/{name}.jpg")
    image(1, "L", width=48, height=36).save(source / "depth/a.png")
    normal = np.full((72, 96, 3), (128, 128, 255), np.uint8)
    normal[:30] = (205, 128, 229)
    PIL.Image.fromarray(normal).save(source / "normal/a.png")
    image(3, "L", width=72).save(source / "depth/b.png")  # another shape
    truncated(source / "seg/c.png")
    image(4).save(source / "images/d.png")  # the second image of this name
    (source / "images/a.txt").write_text("a  caption\nof two lines\n")
    found = {finding.file: finding for finding in ingest(source, tmp_path / "out", Options(size=32))}
    (row,) = read_manifest(tmp_path / "out").to_dict("records")
    assert (row["caption"], row["source"]) == ("a caption of two lines", "images/a.jpg")
    names = ("image", "depth", "normal")
    fields = {name: read_png(field_path(tmp_path / "out", row["key"], name)) for name in names}
    assert {array.shape for array in fields.values()} == {(32, 32, 3)}
    assert np.abs(np.linalg.norm(fields["normal"] / 127.5 - 1, axis=-1) - 1).max() < 0.02
    assert "another shape" in found["depth/b.png"].detail
    assert found["images/b.jpg"].detail.endswith("depth/b.png is refused")
    assert found["images/c.jpg"].detail.endswith("seg/c.png is refused")
    for name in ("images/d.jpg", "images/d.png"):
        assert found[name].detail.startswith("2 files claim to be one image, *.jpg and *.png; if one is")


def test_repairs_show_what_one_sees(tmp_path: Path) -> None:
    pixels = sight(1, 96, 96)
    PIL.Image.fromarray(pixels).save(tmp_path / "plain.png")
    grey16(1).save(tmp_path / "grey16.png")
    clear = PIL.Image.fromarray(np.dstack([pixels, np.zeros((96, 96), np.uint8)]))
    clear.putpixel((0, 0), (0, 0, 0, 255))
    clear.save(tmp_path / "clear.png")
    PIL.Image.fromarray(pixels).rotate(90).save(tmp_path / "turned.png", exif=EXIF)
    plain = read_picture(tmp_path / "plain.png", 96).pixels
    assert np.array_equal(plain, pixels)
    assert np.array_equal(read_picture(tmp_path / "turned.png", 96).pixels, pixels)
    assert 60 < read_picture(tmp_path / "grey16.png", 96).pixels.mean() < 200  # not clipped to white
    assert (read_picture(tmp_path / "clear.png", 96).pixels[1:] == 255).all()


def test_instruct_pix2pix(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(4):
        (source / f"{number}").mkdir(parents=True)
        (source / f"{number}/prompt.json").write_text(json.dumps({"input": f"cat {number}", "output": "a dog"}))
        for side in (0, 1):
            image(10 * number + side).save(source / f"{number}/77_{side}.jpg")
            image(5, "L").save(source / f"{number}/77_{side}_depth.png")
            image(6, "L").point(lambda grey: grey // 3).save(source / f"{number}/77_{side}_hed.png")
    (source / "3/prompt.json").write_text("{}")
    (source / "seeds.json").write_text(json.dumps([["0", ["77"]], ["1", ["77", "78"]], ["3", ["77"]]]))
    found = ingest(source, tmp_path / "out", Options("instruct-pix2pix", 64))
    rows = read_manifest(tmp_path / "out").set_index("source")
    assert dict(rows["caption"]) == {
        "0/77_0.jpg": "cat 0",
        "0/77_1.jpg": "a dog",
        "1/77_0.jpg": "cat 1",
        "1/77_1.jpg": "a dog",
    }
    assert rows.loc["0/77_0.jpg", "split"] == rows.loc["0/77_1.jpg", "split"]
    assert rows[["depth_sha256", "hed_sha256"]].notna().all(axis=None)
    details = {finding.file: finding.detail for finding in found}
    assert details["2/77_0.jpg"] == "not listed in seeds.json"
    assert details["3/77_1_hed.png"] == "no caption for it in a prompt.json"
    assert [f.detail for f in found if f.file == "seeds.json" and "1/78_0" in f.detail]


@pytest.mark.slow
def test_the_later_stages_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply(ROOT / "profiles/photos.yaml", tmp_path / "params.yaml")
    Path("photos").mkdir()
    for number in range(8):
        image(number).save(f"photos/red_blob-{number}.jpg")
        if number:  # an untrained network sees one class everywhere, which one map of a split may show
            PIL.Image.fromarray(sight(number)[..., 0] // 128).save(f"photos/red_blob-{number}.seg.png")
    image(99, "L").save("photos/red_blob-0.depth.png")
    result = CliRunner().invoke(app, ["ingest", "photos", "--out", "scenes"])
    assert result.exit_code == 0, result.output
    assert "accepted" in result.output
    Path("models").mkdir()
    Path("net").mkdir()
    net = PerceptionNet([8, 16])
    Path("net/config.json").write_text(json.dumps(net.config))
    save_file(net.state_dict(), "net/model.safetensors")
    with pytest.raises(UsdError, match=r"annotate\.networks: models/networks is not there"):
        annotate.main(Path("scenes"), Path("annotated"))
    params = Path("params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("models/networks", "models/no_networks"))
    with pytest.raises(UsdError, match=r"(train|val|test)-[0-9a-f]+: no (depth|seg) map, and no annotators"):
        annotate.main(Path("scenes"), Path("annotated"))
    Path("params.yaml").write_text(params)
    Path("net").rename("models/networks")
    annotate.main(Path("scenes"), Path("annotated"))
    row = read_manifest(Path("scenes")).set_index("source").loc["red_blob-0.jpg"]
    brought, kept = (read_png(field_path(Path(root), row["key"], "depth")) for root in ("scenes", "annotated"))
    assert np.array_equal(brought, kept)
    validate.main(Path("scenes"), Path("annotated"), Path("validation"), Path("docs"))
    shard.main(Path("scenes"), Path("annotated"), Path("validation"), Path("shards"))
    splits = Shards.open("shards").splits.values()
    assert {caption for split in splits for caption in split.captions()} == {f"red blob {n}" for n in range(8)}
    pictures = [picture for split in splits for field in FIELDS for picture in split.pictures(split.keys, field)]
    assert {picture.shape for picture in pictures} == {(64, 64, 3)}


def test_what_is_asked_for_wrongly_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.jpg").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious").touch()
    for arguments, message in {
        ("source", "out"): r"no picture there that can be used; empty: 0 bytes \(1\)",
        ("missing", "out"): "not a folder",
        ("source", "source/out"): "overlaps",
        ("source", "."): "overlaps",
        ("source", "mine"): "exists and is not a dataset",
    }.items():
        with pytest.raises(UsdError, match=message):
            ingest(*(tmp_path / each for each in arguments), Options(size=64))
    with pytest.raises(UsdError, match="multiple of 8"):
        ingest(tmp_path / "source", tmp_path / "out", Options(size=60))
    with pytest.raises(UsdError, match="from 16 to 4096"):
        ingest(tmp_path / "source", tmp_path / "out", Options(size=100_000))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.jpg", "mine", "precious", "source"]

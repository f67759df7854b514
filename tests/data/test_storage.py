"""Shards and DVC's cache in object storage, on a real S3 server on loopback."""

import shutil
import subprocess
from itertools import islice
from pathlib import Path

import fsspec
import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import connect
from tests.flaky import Flaky
from usd.cli import app
from usd.data import storage
from usd.data.encoded import ENCODE_AGAIN
from usd.data.index import File
from usd.data.integrity import check
from usd.data.loader import training_loader
from usd.data.shards import Shards, upload
from usd.data.storage import read_bytes, write_bytes
from usd.data.stream import TrainingStream
from usd.errors import UsdError
from usd.tasks import FIELDS

pytestmark = pytest.mark.slow


def test_shards_are_read_there_as_here(tiny: Path, bucket: str) -> None:
    local, remote = tiny / "shards", f"{bucket}/shards"
    result = CliRunner().invoke(app, ["upload", remote, "--shards", str(local)])
    assert result.exit_code == 0, result.output
    here, there = Shards.open(local), Shards.open(remote)
    assert here.digest == there.digest
    for field in FIELDS:
        pictures = [each["test"].pictures(here["test"].keys, field) for each in (here, there)]
        assert (pictures[0] == pictures[1]).all()
    batches = [list(islice(training_loader(TrainingStream(s["train"], 1, 1, 0.5), 2), 8)) for s in (here, there)]
    for here, there in zip(*batches, strict=True):
        assert here.keys == there.keys
        assert torch.equal(here.target, there.target)


def test_damage_there_is_named(tiny: Path, bucket: str) -> None:
    CliRunner().invoke(app, ["upload", f"{bucket}/damaged/", "--shards", str(tiny / "shards")])
    assert "not a URL" in str(CliRunner().invoke(app, ["upload", "damaged"]).exception)
    write_bytes(f"{bucket}/damaged/val-0000.tar", b"short")
    with pytest.raises(UsdError, match=r"damaged/val-0000\.tar: of another size"):
        Shards.open(f"{bucket}/damaged")
    with pytest.raises(UsdError, match=r"nothing: no readable index .*nothing/index\.json: not found"):
        Shards.open(f"{bucket}/nothing")


@pytest.mark.parametrize("size", [5, None])
@pytest.mark.parametrize("remedy", ["", ENCODE_AGAIN])
def test_what_a_url_lacks_is_named_with_the_command_that_makes_it(size: int | None, remedy: str) -> None:
    write_bytes("memory://damaged/there", b"short")
    write_bytes("memory://damaged/file", b"short") if size else None
    why = "of another size than the index says" if size else "not found"
    with pytest.raises(UsdError, match=f"damaged/file: {why}; {remedy or 'upload the shards again'}$"):
        check("memory://damaged", [File("there", 5, ""), File("file", 6, "")], remedy)
    fsspec.filesystem("memory").rm("/damaged", recursive=True)


def test_a_web_server_is_not_uploaded_to() -> None:
    with pytest.raises(UsdError, match=r"http://127\.0\.0\.1:1/a: http cannot be written to; use s3://bucket/folder$"):
        write_bytes("http://127.0.0.1:1/a", b"data")


def test_dropped_connections_are_tried_again(
    bucket: str, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(f"{bucket}/file", b"content" * 1000)
    with Flaky(address, drops=2) as (port, dropped):
        connect(monkeypatch, "127.0.0.1", port)
        assert read_bytes(f"{bucket}/file") == b"content" * 1000
    assert len(dropped) == 2


def test_a_stream_goes_on_when_connections_are_cut(
    tiny: Path, bucket: str, address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(tiny / "shards", f"{bucket}/cut")
    flaky = Flaky(address, drops=0)
    with flaky as (port, dropped):
        connect(monkeypatch, "127.0.0.1", port)
        packets = TrainingStream(Shards.open(f"{bucket}/cut")["train"], 1, 1, 0.5).packets()
        found = [next(packets) for _ in range(2)]
        flaky.cut(drops=3)
        found += [next(packets) for _ in range(6)]
        assert len(dropped) == 3
    local = TrainingStream(Shards.open(tiny / "shards")["train"], 1, 1, 0.5)
    assert all(torch.equal(packet.pictures, local.packet(packet.index).pictures) for packet in found)


def test_a_shard_damaged_meanwhile_is_named_and_training_goes_on_once_it_is_mended(tiny: Path, bucket: str) -> None:
    upload(tiny / "shards", f"{bucket}/mended")
    stream = TrainingStream(Shards.open(f"{bucket}/mended")["train"], 1, 1, 0.5)
    data = {path.name: path.read_bytes() for path in (tiny / "shards").glob("train-*.tar")}
    for name, original in data.items():
        write_bytes(f"{bucket}/mended/{name}", bytes(len(original)))
    with pytest.raises(UsdError, match=r"mended/train-\d+\.tar: train-\d+\.\w+\.png does not decode"):
        stream.packet(5)
    for name, original in data.items():
        write_bytes(f"{bucket}/mended/{name}", original)
    local = TrainingStream(Shards.open(tiny / "shards")["train"], 1, 1, 0.5, start=5)
    assert torch.equal(stream.packet(5).pictures, next(local.packets()).pictures)


@pytest.mark.parametrize("failures", [2, 99])
def test_attempts_are_bounded(bucket: str, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    write_bytes(f"{bucket}/file", b"content")
    files, attempts = storage._filesystem(bucket), list[object]()
    original = files.cat_ranges

    def fail(paths: list[str], starts: list[int], ends: list[int], **named: object) -> list[object]:
        attempts.append(paths)
        found = list(original(paths, starts, ends, **named))
        return [*found[:-1], ConnectionResetError("reset by peer")] if len(attempts) <= failures else found

    monkeypatch.setattr(files, "cat_ranges", fail)
    monkeypatch.setattr(storage, "BACKOFF", 0.0)
    asked = [(f"{bucket}/file", 1, 3), (f"{bucket}/file", 3, 7)]
    if failures < storage.ATTEMPTS:
        assert storage.read_ranges(asked) == [b"on", b"tent"]
    else:
        with pytest.raises(UsdError, match=r"usd/file: reset by peer, tried 5 times; check the network"):
            storage.read_ranges(asked)
    assert list(map(len, attempts)) == [2] + [1] * min(failures, storage.ATTEMPTS - 1)  # what came is not fetched again


def test_only_the_bytes_that_are_used_are_fetched(tiny: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(tiny / "shards", f"{bucket}/counted")
    stream = TrainingStream(Shards.open(f"{bucket}/counted")["train"], 1, 2, 0.5)
    fetched = list[int]()

    def counted(asked: list[tuple[str, int, int]]) -> list[bytes]:
        found = storage.read_ranges(asked)
        fetched.extend(map(len, found))
        return found

    monkeypatch.setattr("usd.data.ranges.read_ranges", counted)
    for index in range(4):
        stream.packet(index)
    wanted = {
        (i, w.number, f) for i in range(4) for item in stream.items(i) for w in stream.wanted(item) for f in w.fields
    }
    used = sum(stream.split.rows.extent(number, field)[1] for _, number, field in wanted)
    assert used <= sum(fetched) <= 1.1 * used


def test_missing_credentials_are_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(UsdError, match="AWS_ACCESS_KEY_ID"):
        write_bytes(f"{bucket}/file", b"content")


def test_dvc_pushes_and_pulls_a_folder(bucket: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()

    def command(*words: str) -> None:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    command("git", "init", "--quiet")
    command("dvc", "init", "--quiet")
    command("dvc", "remote", "add", "--default", "storage", f"{bucket}/dvc")
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text("{}")
    command("dvc", "add", "model")
    command("dvc", "push")
    shutil.rmtree(folder / ".dvc/cache")
    shutil.rmtree(folder / "model")
    command("dvc", "pull")
    assert (folder / "model/config.json").read_text() == "{}"

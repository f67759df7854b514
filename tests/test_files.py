"""Files are whole or not there: on a full disk, and below a file."""

import os
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from safetensors.numpy import save_file

from usd.errors import UsdError
from usd.files import (
    STATE,
    atomic_directory,
    atomic_write,
    check_writable,
    lasting,
    path_text,
    read_json,
    sole_writer,
)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond ten bytes, which fails in the middle of a write as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_is_one_line_and_leaves_the_earlier_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file", "earlier")
    with pytest.raises(UsdError, match=r"file: could not be written: File too large$"), full_disk():
        atomic_write(tmp_path / "file", "too long for it")
    assert (tmp_path / "file").read_text() == "earlier"
    assert names(tmp_path) == ["file"]


def test_of_files_that_belong_together_none_is_written_alone(tmp_path: Path) -> None:
    for earlier in ([], ["note", "picture"]):
        with pytest.raises(UsdError, match=r"picture: could not be written: File too large$"), full_disk():
            atomic_write(tmp_path / "note", "later", (tmp_path / "picture", b"too long for it"))
        assert names(tmp_path) == earlier
        assert all((tmp_path / name).read_text() == "earlier" for name in earlier)
        atomic_write(tmp_path / "note", "earlier", (tmp_path / "picture", b"earlier"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "not found; run the stage that makes it"),
        (b"{", r"not readable \(.*\); run the stage that makes it"),
        (b"[" * 100_000, r"not readable \(.*\); run the stage that makes it"),
        (b"\xff", "not UTF-8; run the stage that makes it"),
    ],
)
def test_a_file_that_is_not_json_is_one_line(data: bytes | None, message: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "file.json").write_bytes(data)
    with pytest.raises(UsdError, match=rf"file\.json: {message}$"):
        read_json(tmp_path / "file.json")


def test_a_linked_file_is_written_where_the_link_points(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "link").symlink_to("below/file")
    for text in ("first", "second"):  # a link to nothing yet, then to a file
        atomic_write(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "below/file").read_text() == text
    assert names(tmp_path / "below") == ["file"]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path)], ids=["pipe", "endless link"])
def test_what_is_not_a_regular_file_is_kept(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "file")
    before = (tmp_path / "file").lstat()
    with pytest.raises(UsdError, match=r"file: could not be written: what is there is not a regular file; name anot"):
        atomic_write(tmp_path / "file", "text")
    assert os.path.samestat((tmp_path / "file").lstat(), before)
    assert names(tmp_path) == ["file"]


def test_a_full_disk_leaves_the_earlier_folder(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "out") as scratch:
        (scratch / "file").write_text("earlier")
    with (
        pytest.raises(UsdError, match=r"out: could not be written: File too large; earlier outputs are kept$"),
        full_disk(),
        atomic_directory(tmp_path / "out") as scratch,
    ):
        (scratch / "file").write_text("too long for it")
    assert (tmp_path / "out/file").read_text() == "earlier"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_weights_have_the_rights_of_the_files_beside_them(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with atomic_directory(tmp_path / "out") as scratch:
            (scratch / "unet").mkdir()
            save_file({"weight": np.zeros(3)}, scratch / "unet/model.safetensors")
            (scratch / "config.json").touch()
    finally:
        os.umask(before)
    weights, config = tmp_path / "out/unet/model.safetensors", tmp_path / "out/config.json"
    assert weights.stat().st_mode == config.stat().st_mode


def test_a_file_system_without_modes_keeps_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "chmod", Mock(side_effect=PermissionError))
    with atomic_directory(tmp_path / "out") as scratch:
        save_file({"weight": np.zeros(3)}, scratch / "model.safetensors")
    assert names(tmp_path / "out") == ["model.safetensors"]


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    """A file in the folder's place stands for a folder without the right to write, which root has everywhere."""
    check_writable(tmp_path / "models/out", tmp_path / "results/curve.csv")
    assert [names(tmp_path / folder) for folder in ("models", "results")] == [[], []]
    (tmp_path / "file").touch()
    with pytest.raises(UsdError, match=r"file/out: cannot be written: .*; nothing was started$"):
        check_writable(tmp_path / "models/out", tmp_path / "file/out")


def test_a_place_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsdError, match=r"file/out: could not be written: (Not a directory|File exists)"):
        atomic_write(tmp_path / "file/out", "text")
    with (
        pytest.raises(UsdError, match=r"file/out: could not be written: (Not a directory|File exists)"),
        atomic_directory(tmp_path / "file/out"),
    ):
        pass


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    (tmp_path / "in/picture.png").mkdir(parents=True)
    with (
        pytest.raises(UsdError, match=r"in/picture\.png: cannot be used: Is a directory; \S+out is as it was"),
        atomic_directory(tmp_path / "results/out"),
    ):
        (tmp_path / "in/picture.png").read_bytes()


def test_a_linked_folder_is_written_where_the_link_points(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for text in ("first", "second"):
        with atomic_directory(tmp_path / "link") as scratch:
            (scratch / "file").write_text(text)
    assert (tmp_path / "real/file").read_text() == "second"
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "real"]


@pytest.mark.parametrize("target", ["photos", "link", "photo.jpg"])
def test_what_the_block_did_not_make_is_kept(target: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/photo.jpg").write_text("precious")
    (tmp_path / "link").symlink_to("photos")
    (tmp_path / "photo.jpg").write_text("precious")
    message = rf"{target}: (has no mark, so this stage did not make it; name anoth|what is there is not a folder, so)"
    with pytest.raises(UsdError, match=message), atomic_directory(tmp_path / target, "mark"):
        pytest.fail("it began")
    assert (tmp_path / "photos/photo.jpg").read_text() == (tmp_path / "photo.jpg").read_text() == "precious"
    assert names(tmp_path) == ["link", "photo.jpg", "photos"]


def test_what_the_block_made_and_an_empty_folder_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for text in ("first", "second"):
        with atomic_directory(tmp_path / "out", "mark") as scratch:
            (scratch / "mark").write_text(text)
        assert (tmp_path / "out/mark").read_text() == text


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", r"^\.: is or contains the current folder"),
        ("..", r"^\.\.: is or contains the current folder"),
        ("/proc/x", "^/proc/x: could not be written: "),
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(
    target: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsdError, match=message), atomic_directory(Path(target)):
        pass
    assert names(tmp_path) == []


def test_a_folder_in_a_files_place_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsdError, match=r"^\.: could not be written: it is a folder; name a file$"):
        atomic_write(Path(), "text")
    assert names(tmp_path) == []


def forked(work: Callable[[], None]) -> int:
    """Another process that does the work; it exits with 3 if it is refused as somebody else is at it."""
    child = os.fork()
    if not child:
        code = 4
        try:
            work()
            code = 0
        except UsdError as error:
            code = 3 if re.search(": another .*; .*end it", str(error)) else 4
        finally:
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_processes_may_write_one_file_at_once(tmp_path: Path) -> None:
    """As those of a training do, each of which keeps the table of shards at a URL; a reader finds one's whole text."""

    def write() -> None:
        for _ in range(100):
            atomic_write(tmp_path / "file", bytes([os.getpid() % 256]) * 100_000)
            assert len(set((tmp_path / "file").read_bytes())) == 1

    assert [exit_code(child) for child in [forked(write), forked(write)]] == [0, 0]
    assert names(tmp_path) == ["file"]


def test_two_processes_never_write_one_folder(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_directory(tmp_path / "out"):
            pass

    with atomic_directory(tmp_path / "out") as scratch:
        (scratch / "file").write_text("mine")
        assert exit_code(forked(write)) == 3
        assert names(scratch) == ["file"]
    assert names(tmp_path) == ["out"]
    assert exit_code(forked(write)) == 0


def test_a_killed_process_holds_no_folder_even_where_its_workers_live_on(tmp_path: Path) -> None:
    go, kept = os.pipe()
    child = os.fork()
    if not child:
        with sole_writer(tmp_path / "run"):
            if not os.fork():
                os.close(kept)
                os.read(go, 1)  # until the test ends
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert names(tmp_path) == [".run.lock.partial"]
    with sole_writer(tmp_path / "run"):
        pass
    os.close(kept)
    assert names(tmp_path) == []


def test_a_path_is_text_whatever_its_bytes() -> None:
    assert path_text(Path(os.fsdecode(b"a/caf\xe9\n"))) == "a/caf\\xe9\n"
    assert path_text(Path("größe")) == "größe"


def test_an_experiments_state_is_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STATE, raising=False)
    assert lasting(".usd") == Path(".usd")
    monkeypatch.setenv(STATE, str(tmp_path))
    assert lasting(".usd") == tmp_path / ".usd"

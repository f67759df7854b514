"""A storage that stops answering in the middle of a training: one line after a stated time, then the same bits."""

import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from torch.utils.data import _utils

from tests.conftest import connect
from tests.flaky import Flaky
from usd.data import storage
from usd.data.index import INDEX
from usd.data.loader import training_loader
from usd.data.shards import Shards, Split, upload
from usd.data.stream import TrainingStream
from usd.errors import UsdError

pytestmark = pytest.mark.slow

SILENT = 0.3  # seconds, in the place of READ_TIMEOUT


class Ranges(SimpleHTTPRequestHandler):
    """Serves parts of files, which Python's own handler does not."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, asked = Path(self.translate_path(self.path)), self.headers.get("Range")
        if not asked or not path.is_file():
            return super().do_GET()
        first, last = map(int, re.findall(r"\d+", asked))
        part = path.read_bytes()[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tiny: Path, tmp_path: Path) -> Iterator[tuple[Path, tuple[str, int]]]:
    """A copy of the shards, and host and port of the web server that has it."""
    shutil.copytree(tiny / "shards", tmp_path / "served")
    handler = type("Handler", (Ranges,), {"__init__": lambda self, *a: Ranges.__init__(self, *a, directory=tmp_path)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "served", ("127.0.0.1", server.server_port)
        server.shutdown()


@pytest.fixture(params=["s3", "http"])
def shards(request: pytest.FixtureRequest, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Flaky]]:
    """The URL of shards that are reached by a way that can fall silent, and that way."""
    if request.param == "http":
        _, address = request.getfixturevalue("served")
    else:
        address = request.getfixturevalue("address")
        upload(tiny / "shards", f"{request.getfixturevalue('bucket')}/silent")
    flaky = Flaky(address, drops=0)
    monkeypatch.setattr(storage, "READ_TIMEOUT", 1.0)  # of the requests that are under way when the silence begins
    with flaky as (port, _):
        connect(monkeypatch, "127.0.0.1", port)
        yield f"http://127.0.0.1:{port}/served" if request.param == "http" else "s3://usd/silent", flaky


@contextmanager
def silence(flaky: Flaky) -> Iterator[None]:
    """Nothing is answered, and not much time is left for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "READ_TIMEOUT", SILENT)
        patch.setattr(storage, "BACKOFF", 0.0)
        flaky.silent = True
        yield
        flaky.silent = False


def test_silence_ends_in_one_line_and_a_resumed_training_has_the_same_bits(
    tiny: Path, shards: tuple[str, Flaky]
) -> None:
    url, flaky = shards
    packets = TrainingStream(Shards.open(url)["train"], 1, 1, 0.5).packets()
    found = [next(packets)]
    with silence(flaky), pytest.raises(UsdError) as error:
        found.extend(packets)
    line = rf"{url}/train-\d+\.tar: no answer within 0\.3 s, tried 5 times; .* run the same command again"
    assert re.fullmatch(line, str(error.value))
    resumed = TrainingStream(Shards.open(url)["train"], 1, 1, 0.5, start=len(found)).packets()
    found += islice(resumed, 2)
    local = TrainingStream(Shards.open(tiny / "shards")["train"], 1, 1, 0.5).packets()
    for here, there in zip(local, found, strict=False):
        assert here.keys == there.keys
        assert torch.equal(here.pictures, there.pictures)


def test_an_abandoned_stream_waits_for_no_request(shards: tuple[str, Flaky], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one that Python collects in the thread which answers requests would wait for itself."""
    packets = TrainingStream(Shards.open(shards[0])["train"], 1, 1, 0.5).packets()
    next(packets)
    answered = threading.Event()
    monkeypatch.setattr(Split, "read", lambda *_: answered.wait(60))
    next(packets)
    began = time.monotonic()
    packets.close()
    assert time.monotonic() - began < 10
    answered.set()


def test_workers_that_wait_for_a_silent_storage_end_in_the_same_line(
    shards: tuple[str, Flaky], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, flaky = shards
    split = Shards.open(url)["train"]
    monkeypatch.setattr(storage, "BACKOFF", 0.0)  # as it is when the workers start
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 1.0)  # seconds for a worker to end by itself, in torch
    before = set(active_children())
    batches = training_loader(TrainingStream(split, 1, 1, 0.5), 2)
    next(batches)
    flaky.silent = True
    began = time.monotonic()
    with pytest.raises(UsdError, match=rf"{url}/train-\d+\.tar: no answer within 1 s, tried 5 times"):
        deque(batches, maxlen=0)
    flaky.silent = False
    assert time.monotonic() - began < 3 * storage.ATTEMPTS * storage.READ_TIMEOUT  # no request waits for the others
    assert set(active_children()) <= before


def test_a_storage_that_is_silent_from_the_start_is_named(shards: tuple[str, Flaky]) -> None:
    url, flaky = shards
    began = time.monotonic()
    with silence(flaky), pytest.raises(UsdError, match=rf"{url}/{INDEX}: no answer within 0\.3 s, tried 5 times"):
        Shards.open(url)
    assert time.monotonic() - began >= storage.ATTEMPTS * SILENT


def test_damage_on_a_web_server_is_named(served: tuple[Path, tuple[str, int]]) -> None:
    folder, (host, port) = served
    url = f"http://{host}:{port}/served"
    stream = TrainingStream(Shards.open(url)["train"], 1, 1, 0.5)
    for path in folder.glob("train-*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(
        UsdError, match=rf"{url}/train-\d+\.tar: train-\d+\.\w+\.png does not decode; the shard is damaged"
    ):
        stream.packet(5)
    next(iter(folder.glob("val-*.tar"))).write_bytes(b"short")
    with pytest.raises(UsdError, match=r"val-\d+\.tar: of another size"):
        Shards.open(url)


def test_a_server_without_ranges_is_named(
    served: tuple[Path, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (host, port) = served
    monkeypatch.setattr(Ranges, "do_GET", SimpleHTTPRequestHandler.do_GET)
    stream = TrainingStream(Shards.open(f"http://{host}:{port}/served")["train"], 1, 1, 0.5)
    with pytest.raises(UsdError, match=r"train-\d+\.tar: the server ignores ranges of bytes"):
        stream.packet(0)

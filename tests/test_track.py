"""An offline W&B run is read back: nothing needs the network, and nothing logged is lost."""

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml

from tests.serving import free_port
from usd.track import Tracker, dvc_hash, mode

BLOCK, HEADER = 32768, 7  # of the LevelDB log format that a .wandb file has


def records(path: Path) -> Iterator[Any]:
    """The protobuf records of an offline run."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def test_an_offline_run_has_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    picture, model = tmp_path / "grid.png", tmp_path / "model"
    PIL.Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture)
    model.mkdir()
    (model / "weights.safetensors").write_bytes(b"weights")
    tracker = Tracker("us_diffusion", {"steps": 600, "data": "abc"}, tmp_path, "1a2b3c")
    tracker.log(10, {"denoising": 0.5, "denoising/image2depth": 0.25})
    tracker.log_image("preview", picture, 10)
    tracker.log_model(model, {"data": "abc"})
    tracker.run.finish()  # killed
    again = Tracker("us_diffusion", {"steps": 600, "data": "abc"}, tmp_path, "another-commit")
    again.log(20, {"denoising": 0.4})
    again.finish()
    assert not again.named.exists()

    files = [list(records(path)) for path in sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))]
    runs = [next(record.run for record in each if record.HasField("run")) for each in files]
    assert [(run.run_id, run.run_group) for run in runs] == [(tracker.run.id, "1a2b3c")] * 2
    found, run = files[0], runs[0]
    assert {item.key: json.loads(item.value_json) for item in run.config.update}["steps"] == 600
    logged = {
        "/".join(item.nested_key) or item.key: json.loads(item.value_json)
        for record in found
        for item in record.history.item
    }
    assert logged["denoising"] == 0.5
    assert logged["denoising/image2depth"] == 0.25
    assert logged["preview/_type"] == "image-file"
    artifact = next(record.artifact for record in found if record.HasField("artifact"))
    assert artifact.name == "us_diffusion-model"
    assert json.loads(artifact.metadata) == {"data": "abc", "dvc": dvc_hash(model)}


def test_a_key_of_any_kind_takes_it_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert mode() == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key\n")
    assert mode() is None
    (tmp_path / "netrc").unlink()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mode() is None


def test_without_the_server_the_run_is_kept_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    tracker = Tracker("us_diffusion", {}, tmp_path, "1a2b3c")
    tracker.log(1, {"denoising": 0.5})
    tracker.run.finish()  # killed before its first checkpoint
    again = Tracker("us_diffusion", {}, tmp_path, "1a2b3c", resume=False)
    again.log(1, {"denoising": 0.5})
    again.finish()
    assert again.run.id != tracker.run.id
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def test_the_hash_is_that_of_dvc(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.safetensors").write_bytes(b"weights")
    for command in (["init", "--no-scm", "--quiet"], ["add", "--quiet", "model"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True)
    pointer = yaml.safe_load((tmp_path / "model.dvc").read_text())
    assert dvc_hash(tmp_path / "model") == pointer["outs"][0]["md5"]

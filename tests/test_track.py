"""An offline W&B run is read back: nothing needs the network, and nothing logged is lost."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml

from tests.conftest import ROOT
from tests.serving import free_port
from usd.errors import UsdError
from usd.track import Tracker, dvc_hash, mode
from usd.training.variant import git_revision

pytestmark = pytest.mark.slow

BLOCK, HEADER = 32768, 7  # of the LevelDB log format that a .wandb file has


def records(path: Path) -> Iterator[Any]:
    """The protobuf records of an offline run, whose end W&B's service may write only when it ends itself."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()
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
    tracker.log_preview(10, {"rmse/image2depth": 0.2}, picture)
    tracker.log_model(model, {"data": "abc"})
    tracker.run.finish()  # killed
    again = Tracker("us_diffusion", {"steps": 600, "data": "abc"}, tmp_path, "another-commit")
    again.log_preview(20, {"rmse/image2depth": 0.1}, picture)
    again.log_preview(30, {"rmse/image2depth": 0.05, "rmse/image2seg": 0.3}, picture)
    again.finish()
    assert not again.named.exists()
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/previews_*.table.json")
    shown = json.loads(table.read_text())
    assert shown["columns"] == ["step", "validation items", "rmse/image2depth", "rmse/image2seg"]
    assert [[row[0], *row[2:]] for row in shown["data"]] == [[20, 0.1, None], [30, 0.05, 0.3]]

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
    assert logged["rmse/image2depth"] == 0.2
    artifact = next(record.artifact for record in found if record.HasField("artifact"))
    assert artifact.name == "us_diffusion-model"
    assert json.loads(artifact.metadata) == {"data": "abc", "dvc": dvc_hash(model)}


def test_a_revision_needs_neither_git_nor_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_revision() == "no-git"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision() == "no-git"


def test_the_home_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written outside the run's folder, in a process whose home cannot be written."""
    code = """
from pathlib import Path
from usd.track import Tracker
tracker = Tracker("us_diffusion", {}, Path("run"), "1a2b3c")
tracker.log(1, {"denoising": 0.5})
tracker.log_model(Path("model"), {"data": "abc"})
tracker.finish()
"""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.safetensors").write_bytes(b"weights")
    (tmp_path / "home").write_text("a file, in which nobody can write a folder")
    homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), str(tmp_path / "home"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | homes
    environment |= {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=120)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "model", "run"}
    staged = [
        path for path in (tmp_path / "run/wandb").rglob("*") if path.is_file() and b"weights" in path.read_bytes()
    ]
    assert staged


def test_an_error_raises_an_alert_and_the_run_goes_on(tmp_path: Path) -> None:
    tracker = Tracker("us_diffusion", {}, tmp_path, "1a2b3c")
    tracker.log(1, {"denoising": 0.5})
    with pytest.raises(FloatingPointError), tracker:
        raise FloatingPointError("loss is not finite")
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found = list(records(path))
    alert = next(record.alert for record in found if record.HasField("alert"))
    assert (alert.title, alert.text) == ("us_diffusion failed", "FloatingPointError: loss is not finite")
    assert [record.exit.exit_code for record in found if record.HasField("exit")] == [1]
    with tracker:  # an interrupt is no failure, and nothing is opened for it
        pass
    assert tracker.named.exists()  # the next attempt resumes


def test_the_lineage_leads_from_the_data_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline W&B refuses `use_artifact`; a stand-in for the online run records the calls."""
    calls: list[tuple[str, str, str]] = []

    class Online:
        offline = False

        def use_artifact(self, artifact: Any) -> None:
            digest = Path(artifact.manifest.entries["digest.txt"].local_path).read_text()
            calls.append(("used", artifact.type, digest))

        def log_artifact(self, artifact: Any) -> None:
            calls.append(("made", artifact.type, artifact.metadata["data"]))

    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    tracker = Tracker("us_diffusion", {}, tmp_path / "run", "1a2b3c")
    vars(tracker)["run"] = Online()
    (tmp_path / "model").mkdir()
    tracker.log_model(tmp_path / "model", {"data": "abc"})
    assert calls == [("used", "dataset", "abc"), ("made", "model", "abc")]


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


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WANDB_MODE", "off", "W&B: mode: Input should be 'online', 'offline', .*; correct its environment variables"),
        ("WANDB_BASE_URL", "foo", "W&B: base_url: Input should be a valid URL, .*; correct its"),
        ("WANDB_PROJECT", "a/b", "W&B: Invalid project name 'a/b': .*; correct its"),
    ],
)
def test_a_wrong_setting_is_one_line(
    variable: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsdError, match=f"^{message}") as told:
        Tracker("us_diffusion", {}, tmp_path, "1a2b3c").log(1, {"denoising": 0.5})
    assert "\n" not in str(told.value)


def test_a_model_that_cannot_be_staged_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "file/staged"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.safetensors").write_bytes(b"weights")
    tracker = Tracker("us_diffusion", {}, tmp_path / "run", "1a2b3c")
    vars(tracker)["run"] = SimpleNamespace(offline=True)
    tracker.log_model(tmp_path / "model", {"data": "abc"})
    assert "W&B: the model is not stored there: " in capsys.readouterr().err


def test_the_hash_is_that_of_dvc(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.safetensors").write_bytes(b"weights")
    for command in (["init", "--no-scm", "--quiet"], ["add", "--quiet", "model"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True)
    pointer = yaml.safe_load((tmp_path / "model.dvc").read_text())
    assert dvc_hash(tmp_path / "model") == pointer["outs"][0]["md5"]

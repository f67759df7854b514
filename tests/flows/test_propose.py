"""What a run changed becomes a branch and a pull request: real git, real DVC, the real gh against a local server."""

import json
import logging
import shutil
import socketserver
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from flows.dag import read_dag
from tests.flows.project import in_project, run
from usd.errors import UsdError

URL = "https://github.com/somebody/project/pull/1"

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose origin has GitHub's address and is a folder beside it."""
    in_project(project, "git", "clone", "--quiet", "--bare", str(project), str(tmp_path / "origin"))
    in_project(project, "git", "clone", "--quiet", str(tmp_path / "origin"), str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    for name, value in {"user.name": "tester", "user.email": "tester@example.org"}.items():
        in_project(tmp_path / "clone", "git", "config", name, value)
    address = "https://github.com/somebody/project.git"
    in_project(tmp_path / "clone", "git", "remote", "set-url", "origin", address)
    in_project(tmp_path / "clone", "git", "remote", "set-url", "--push", "origin", str(tmp_path / "origin"))
    shutil.copytree(project / ".dvc/cache", tmp_path / "clone/.dvc/cache")
    monkeypatch.setattr("flows.propose.get_run_logger", logging.getLogger)
    return tmp_path / "clone"


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What gh asks of GitHub's API, which a server on a socket stands in for."""
    asked: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = json.dumps({"html_url": URL}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def address_string(self) -> str:
            return "gh"

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "gh").mkdir()
    (tmp_path / "gh/config.yml").write_text(f"http_unix_socket: {tmp_path}/socket\n")
    monkeypatch.setenv("GH_CONFIG_DIR", str(tmp_path / "gh"))
    monkeypatch.setenv("GH_TOKEN", "token")
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "socket"), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield asked
        server.shutdown()


def results() -> list[Path]:
    return [path for stage in read_dag() for path in stage.results]


def change(folder: Path) -> None:
    """What a run leaves: another result, a lock that names it, and timings, which it does not name."""
    (folder / "timings.json").write_text("another")
    (folder / "results/a/metrics.json").write_text(json.dumps({"loss": 0.25}))
    in_project(folder, sys.executable, "-m", "dvc", "commit", "--force", "--quiet", "train@a")


@pytest.mark.skipif(not shutil.which("gh"), reason="gh is not installed")
def test_changed_results_are_proposed_once_and_the_checkout_stays(
    clone: Path, github: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    from flows.propose import propose

    assert propose.fn(results(), "the run x").name == "Unchanged"
    in_project(clone, sys.executable, "-m", "dvc", "remote", "add", "--default", "storage", str(tmp_path / "storage"))
    in_project(clone, "git", "commit", "--quiet", "--all", "--message", "Add a remote")
    in_project(clone, "git", "push", "--quiet", "origin")
    change(clone)
    before = in_project(clone, "git", "status", "--short")
    head = in_project(clone, "git", "rev-parse", "HEAD")
    assert propose.fn(results(), "the run x").message == URL
    assert in_project(clone, "git", "status", "--short") == before
    assert in_project(clone, "git", "rev-parse", "HEAD") == head

    ((path, fields),) = github
    assert path == "/repos/somebody/project/pulls"
    base = in_project(clone, "git", "branch", "--show-current").strip()
    assert (fields["title"], fields["base"]) == ("Results of the run x", base)
    assert "loss" in fields["body"]
    changed = in_project(tmp_path / "origin", "git", "show", "--format=%P", "--name-only", fields["head"]).split()
    assert changed == [head.strip(), "dvc.lock", "results/a/metrics.json", "timings.json"]
    assert any(path.is_file() for path in (tmp_path / "storage").rglob("*"))  # dvc push

    assert propose.fn(results(), "the run y").message == f"{fields['head']} has been proposed already"
    assert len(github) == 1


def test_what_github_refuses_is_proposed_again(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.propose import propose

    def refuse(*_: object) -> str:
        raise UsdError("propose: gh api: HTTP 502")

    change(clone)
    monkeypatch.setattr("flows.propose.shutil.which", lambda name: name)
    monkeypatch.setattr("flows.propose.open_pull_request", refuse)
    with pytest.raises(UsdError, match="HTTP 502"):
        propose.fn(results(), "the run x")
    monkeypatch.setattr("flows.propose.open_pull_request", lambda *_: URL)
    assert propose.fn(results(), "the run y").message == URL


COMMANDS = {
    "stage": "add params.yaml",
    "new branch": "switch --quiet --create mine",
    "new commit": "commit --quiet --allow-empty --message mine",
    "no author": "config user.name .",  # git takes no such name
    "detach": "switch --quiet --detach",
}


@pytest.mark.parametrize(
    ("obstacle", "message"),
    [
        ("edit", r"propose: params\.yaml is not committed; commit it, or run without"),
        ("stage", r"propose: params\.yaml is not committed; commit it, or run without"),
        ("new file", r"propose: lib/new\.py is not committed; commit it, or run without"),
        ("new data", r"propose: photos\.dvc is not committed; commit it, or run without"),
        ("new branch", "propose: mine has commits that origin lacks; push them, or run without"),
        ("new commit", r"propose: \w+ has commits that origin lacks; push them, or run without"),
        ("no author", "propose: git has no author configured; `git config user.name NAME` and"),
        ("detach", "propose: no branch is checked out; `git switch` to the one to propose to"),
        ("no gh", "gh: not found; install GitHub's command line, or run without"),
        ("no git", "propose: git branch: fatal: not a git repository"),
    ],
)
def test_what_stands_in_the_way_is_named_before_the_work(
    clone: Path, obstacle: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.propose import check_possible

    change(clone)
    paths = results()
    monkeypatch.setattr("flows.propose.shutil.which", lambda name: None if obstacle == "no gh" else name)
    if obstacle in ("edit", "stage"):
        (clone / "params.yaml").write_text("train: {rate: 3}\n")
    if obstacle == "new file":
        (clone / "lib/new.py").touch()
    if obstacle == "new data":
        (clone / "photos.dvc").write_text("outs: [{path: photos}]\n")
    if obstacle in COMMANDS:
        in_project(clone, "git", *COMMANDS[obstacle].split())
    if obstacle == "no git":
        shutil.rmtree(clone / ".git")
    with pytest.raises(UsdError, match=message):
        check_possible(paths)


def test_results_alone_stand_in_no_way(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what others have pushed meanwhile."""
    from flows.propose import check_possible

    monkeypatch.setattr("flows.propose.shutil.which", lambda name: name)
    change(clone)
    in_project(tmp_path, "git", "clone", "--quiet", "origin", "colleague")
    commit = ("-c", "user.name=other", "-c", "user.email=other@example.org", "commit", "--quiet", "--allow-empty")
    in_project(tmp_path / "colleague", "git", *commit, "--message", "later")
    in_project(tmp_path / "colleague", "git", "push", "--quiet")
    check_possible(results())


def test_the_run_asks_first(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.pipeline import reproduce

    in_project(inside, "git", "switch", "--quiet", "--detach")
    monkeypatch.setattr("flows.propose.shutil.which", lambda name: name)
    state = run(reproduce, force=True, propose=True)
    in_project(inside, "git", "switch", "--quiet", "-")
    assert "no branch is checked out" in state.message
    assert not Path(".usd/diary").exists()  # no stage ran

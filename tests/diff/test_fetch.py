"""Pictures of samples from a DVC remote, on a real S3 server on loopback."""

import shutil

import fsspec
import pytest

from tests.diff.project import Project, tile

pytestmark = pytest.mark.slow


def test_what_is_shown_is_fetched_and_nothing_else(pictured: Project, bucket: str) -> None:
    cache = pictured.root / ".dvc/cache"
    unshown = pictured.store(tile(7))  # the depth maps, which are the same at both revisions
    fsspec.filesystem("s3").put(f"{cache}/files/", "usd/dvc/files/", recursive=True)
    shutil.rmtree(cache)
    assert "error: --fetch: DVC has no default remote" in pictured.complaint("base", "--fetch")
    pictured.write(
        ".dvc/config.local", f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {bucket}/dvc\n"
    )
    assert "The DVC cache has no pictures of these samples; with a DVC remote, --fetch" in pictured.run("base").output
    page = pictured.run("base", "--fetch", "--format", "html")
    assert page.exit_code == 0, page.output
    assert page.output.count("<img") == 4
    found = {path.parent.name + path.name for path in cache.rglob("*") if path.is_file()}
    assert len(found) == 4 + 3  # the listings of two folders at two revisions; three different pictures
    assert unshown not in found


def test_a_remote_that_cannot_be_reached_is_one_line(pictured: Project, bucket: str) -> None:
    shutil.rmtree(pictured.root / ".dvc/cache")
    pictured.write(
        ".dvc/config.local", "[core]\n    remote = storage\n['remote \"storage\"']\n    url = s3://nowhere/dvc\n"
    )
    assert "error: --fetch: the DVC remote cannot be read" in pictured.complaint("base", "--fetch")

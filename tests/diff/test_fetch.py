"""Pictures of samples from a DVC remote, on a real S3 server on loopback."""

import shutil

import fsspec
import pytest

from tests.diff.project import Project, tile

pytestmark = pytest.mark.slow


def use_remote(project: Project, url: str) -> None:
    project.write(".dvc/config.local", f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {url}\n")


def test_what_is_shown_is_fetched_and_nothing_else(pictured: Project, bucket: str) -> None:
    cache = pictured.root / ".dvc/cache"
    model = pictured.store(b"[]", ".dir")
    pictured.edit("dvc.lock", lambda lock: lock["stages"]["train@us_diffusion"]["outs"][0].update(md5=model))
    pictured.commit()
    unshown = pictured.store(tile(7))  # the depth maps, which are the same at both revisions
    fsspec.filesystem("s3").put(f"{cache}/files/", "usd/dvc/files/", recursive=True)
    shutil.rmtree(cache)
    assert "error: --fetch: DVC has no default remote" in pictured.complaint("base", "--fetch")
    assert "The DVC cache has no pictures of these samples; with a DVC remote, --fetch" in pictured.run("base").output
    use_remote(pictured, f"{bucket}/empty")
    assert "The DVC remote lacks the pictures of these samples; dvc push" in pictured.run("base", "--fetch").output
    use_remote(pictured, f"{bucket}/dvc")
    page = pictured.run("base", "--fetch", "--format", "html")
    assert page.exit_code == 0, page.output
    assert page.output.count("<img") == 4
    found = {path.parent.name + path.name for path in cache.rglob("*") if path.is_file()}
    assert len(found) == 4 + 3  # the listings of two folders at two revisions; three different pictures
    assert not found & {unshown, model}


def test_a_remote_that_cannot_be_reached_is_one_line(pictured: Project, bucket: str) -> None:
    shutil.rmtree(pictured.root / ".dvc/cache")
    use_remote(pictured, "s3://nowhere/dvc")
    assert "error: --fetch: the DVC remote cannot be read" in pictured.complaint("base", "--fetch")

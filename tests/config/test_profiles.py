"""Profiles: what cannot be written into params.yaml as it is meant is refused, and nothing is changed."""

from pathlib import Path

import pytest

from tests.config.test_config import TEXT, edited
from tests.conftest import ROOT
from usd import config
from usd.config.data import TAKEN
from usd.config.profiles import apply
from usd.config.source import use
from usd.errors import UsdError


@pytest.mark.parametrize(
    "nested", ["[" * 500, "{a: " * 500, "- " * 500, "[" * 100_000], ids=["lists", "mappings", "blocks", "endless"]
)
def test_what_is_nested_too_deeply_is_one_line(tmp_path: Path, nested: str) -> None:
    (tmp_path / "profile.yaml").write_text(nested)
    message = r"\.yaml: not valid YAML: more than 50 levels of nesting$"
    with pytest.raises(UsdError, match=message):
        apply(tmp_path / "profile.yaml", edited(tmp_path))
    assert (tmp_path / "params.yaml").read_text() == TEXT
    with pytest.raises(UsdError, match=message):
        config.load(tmp_path / "profile.yaml")


def aliased(folder: Path) -> Path:
    """A params.yaml in which no_fal is the same mapping as no_sga."""
    path = edited(folder, ("  no_sga: {", "  no_sga: &one {"))
    line = next(line for line in path.read_text().splitlines() if line.startswith("  no_fal:"))
    path.write_text(path.read_text().replace(line, "  no_fal: *one"))
    return path


@pytest.mark.parametrize("name", ["no_sga", "no_fal"])
def test_a_mapping_that_stands_in_two_places_is_not_changed_in_both(tmp_path: Path, name: str) -> None:
    path, profile = aliased(tmp_path), tmp_path / "profile.yaml"
    before = path.read_text()
    profile.write_text(f"variants: {{{name}: {{self_estimates: 0.5}}}}")
    with pytest.raises(UsdError, match=rf"profile\.yaml: variants\.{name}: params\.yaml has it .* \*one; write it out"):
        apply(profile, path)
    assert path.read_text() == before
    profile.write_text(
        f"variants: {{{name}: {{self_estimates: 1.0}}}}\ntrain: {{steps: 7}}"
    )  # of which one is no change
    assert apply(profile, path) == ["train.steps: 400 → 7"]


@pytest.mark.parametrize("name", ["photos", "photos/", "./photos"])
def test_your_own_pictures_are_used_and_left_again(tmp_path: Path, name: str) -> None:
    path = edited(tmp_path)
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    (tmp_path / "photos.dvc").touch()
    assert use(name, path)[:2] == ["paths.scenes: data/scenes → data/photos", "paths.photos: [] → ['photos']"]
    found = config.load(path)
    assert (found.paths.scenes, found.paths.photos) == ("data/photos", ["photos"])
    assert found.annotate.networks == "models/networks"
    assert "  photos: [photos]\n" in path.read_text()
    use("rendered", path)
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photos", r"photos\.dvc is not there; track the folder first: `dvc add photos`"),
        (
            "../photos",
            "expected 'rendered', or a folder beside params.yaml whose name has only .*; move it there, with",
        ),
        ("sets/pets/", "; move it there, with `dvc move sets/pets pets` if DVC tracks it"),
        ("My Photos", "; rename it, with `dvc move 'My Photos' My_Photos` if DVC tracks it"),
        ("..", "letters, digits, _ and -, such as photos$"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str, message: str) -> None:
    path = edited(tmp_path)
    with pytest.raises(UsdError, match=message):
        use(name, path)
    assert path.read_text() == TEXT


@pytest.mark.parametrize("name", ["more", "photos"])
def test_a_second_folder_does_not_drop_the_first(tmp_path: Path, name: str) -> None:
    path = edited(tmp_path, ("  photos: []", "  photos: [photos]"))
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    (tmp_path / f"{name}.dvc").touch()
    use(name, path)
    paths = config.load(path).paths
    assert (paths.scenes, paths.photos) == (f"data/{name}", list(dict.fromkeys(["photos", name])))
    use("rendered", path)
    assert path.read_text() == TEXT


@pytest.mark.parametrize("name", TAKEN)
def test_a_folder_of_the_pipelines_own_is_named(tmp_path: Path, name: str) -> None:
    path = edited(tmp_path)
    with pytest.raises(
        UsdError, match=f"^usd use {name}: data/{name} is the pipeline's own; rename your folder {name}$"
    ):
        use(name, path)
    assert path.read_text() == TEXT


@pytest.mark.parametrize("listed", ["photos: [[a]]", "pictures: []"])
def test_a_list_of_folders_that_is_none_is_named(tmp_path: Path, listed: str) -> None:
    path = edited(tmp_path, ("  photos: []", f"  {listed}"))
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    (tmp_path / "mine.dvc").touch()
    before = path.read_text()
    with pytest.raises(UsdError, match=r"paths\.p"):
        use("mine", path)
    assert path.read_text() == before


def test_a_folder_is_used_with_all_that_belongs_to_it_or_not_at_all(tmp_path: Path) -> None:
    path = edited(tmp_path, ("shards: data/shards", "shards: data/photos"))
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    (tmp_path / "photos.dvc").touch()
    before = path.read_text()
    with pytest.raises(UsdError, match=r"params\.yaml: paths\.shards: must not be the folder of paths\.scenes"):
        use("photos", path)
    assert path.read_text() == before

"""params.yaml: read as DVC reads it, checked at once, commented, and known to editors."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import parse_yaml
from pydantic import ValidationError

from tests.conftest import ROOT
from usd import config
from usd.config.profiles import apply
from usd.config.schema import SCHEMA, comments, schema
from usd.config.source import use
from usd.errors import UsdError

TEXT = (ROOT / "params.yaml").read_text()
SMOKE = ROOT / "profiles/smoke.yaml"


def edited(folder: Path, *edits: tuple[str, str]) -> Path:
    """A copy of the project's params.yaml with some text replaced."""
    text = TEXT
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "params.yaml").write_text(text)
    return folder / "params.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  image_size: 64", "  image_syze: 64", "render.image_syze: unknown key; did you mean image_size"),
        ("  image_size: 64", "  x: 64", "render.x: unknown key; known: seed, test_seed, image_size, objects, train"),
        ("  image_size: 64\n", "", "render.image_size: is missing"),
        ("  image_size: 64", "  image_size: big", "render.image_size: must be a whole number, found 'big'"),
        ("  image_size: 64", "  image_size: 64.0", "render.image_size: must be a whole number, found 64.0"),
        ("  image_size: 64", "  image_size: true", "render.image_size: must be a whole number, found True"),
        ("  image_size: 64", "  image_size: 63", "render.image_size: must be a multiple of 8, found 63"),
        ("timesteps: uniform", "timesteps: x", "variants.prompt_diffusion.timesteps: must be one of 'ess' or 'unif"),
        ("device: auto", "device: gpu", "annotators.device: must be one of 'auto', 'cpu' or 'cuda', found 'gpu'"),
        ("objects: [2, 5]", "objects: [5]", r"render.objects: needs at least 2 value\(s\), found \[5\]"),
        ("objects: [2, 5]", "objects: [5, 2]", "render.objects: must be the fewest and the most objects"),
        ("scales: [1.0, 2.0]", "scales: [2.0]", r"evaluate.guidance_scales: must have 1.0, .* found \[2.0\]"),
        ("curve_items: 96", "curve_items: 401", "study.curve_items: must be at most study.items, which is 400"),
        ("flip: 0.5", "flip: .nan", "annotators.flip: must be a number, found nan"),
        ("flip: 0.5", "flip: '0.5'", "annotators.flip: must be a number, found '0.5'"),
        ("flip: 0.5", "flip: 1.5", "annotators.flip: must be at most 1, found 1.5"),
        (
            "gradient_checkpointing: false",
            "gradient_checkpointing: no",
            "checkpointing: must be true or false, found 'no'",
        ),
        ("near: 1.2", "near: 20", "annotate.far: must be more than near, which is 20, found 12"),
        ("min_caption: 10", "min_caption: 999", "validate.max_caption: must be at least min_caption"),
        ("curve_items: 96", "curve_items: 5", "study.curve_items: 6 rows of evaluate.grid_items need as many"),
        ("curve_items: 48", "curve_items: 401", "evaluate.curve_items: must be at most evaluate.items, which is 400"),
        ("grid_items: 6", "grid_items: 97", "evaluate.grid_items: 97 rows need as many evaluate.curve_items"),
        ("variants: [us_diffusion", "variants: [usd", "study.variants: 'usd' is not in variants; known: prompt_dif"),
        (
            "base: models/base",
            "base: owner/name",
            "train.base: owner/name is not there, and DVC cannot depend on a hub id; run `hf download owner/name --loc",
        ),
        ("warm_start: models/control", 'warm_start: ""', "train.warm_start: must not be empty"),
        (
            "gate:",
            "render: {seed: 1}\ngate:",
            'not valid YAML: while constructing a mapping, .*duplicate key "render"(?!.*suppress)',
        ),
        ("render:", "render", "not valid YAML"),
        ("flip: 0.5", "flip: !!bool maybe", r"not valid YAML: a value does not fit its tag \('maybe'\)"),
        ("min_caption: 10", f"min_caption: {10**400}", "validate.min_caption: must be at most 9.2"),
        ("min_alignment: 0.9", "min_alignment: 5", "validate.min_alignment: must be at most 1, found 5"),
        ("photos: []", "photos: [-a]", "paths.photos.0: must be the name of a folder beside params.yaml"),
        ("photos: []", "photos: [scenes]", "paths.photos.0: data/scenes is the pipeline's own; rename your folder"),
        ("photos: []", "photos: [a, b, a]", "paths.photos: must name each value once, found a again"),
        ("shards: data/shards", "shards: data/scenes/", "paths.shards: must not be the folder of paths.scenes"),
        ("channels: [16, 16, 24, 24, 24]", "channels: [16]", r"train.adapter_channels: needs at least 4 value\(s\)"),
        ("counts: [1, 2, 4, 9]", "counts: [1, 999]", "evaluate.step_counts.1: must be at most 998, found 999"),
        ("  ess_steps: 10\n", "  ess_steps: 1000\n", "train.ess_steps: must be at most 999"),
        ("scales: [1.0, 2.0]", "scales: [0.5]", "evaluate.guidance_scales.0: must be at least 1, found 0.5"),
        ("seeds: [1, 2, 3]", "seeds: [1, 2, 1]", "study.seeds: must name each value once, found 1 again"),
        (
            "counts: [1, 2, 4, 9]",
            "counts: [1, 1]",
            "evaluate.step_counts: must name each value once, found 1 again",
        ),
        ("scales: [1.0, 2.0]", "scales: [1.0, 1]", "evaluate.guidance_scales: must name each value once, found 1"),
        ("batch_sizes: [1, 16]", "batch_sizes: [1, 1]", "benchmark.batch_sizes: must name each value once, found 1 ag"),
        ("[us_diffusion, prompt_diffusion,", "[", "study.variants: must have prompt_diffusion and us_diffusion, found"),
        ("  image_size: 64", "\timage_size: 64", "not valid YAML: .* line 28, column 1; indent with spaces, not tabs"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsdError, match=f"(?m)^{tmp_path}/params.yaml: .*{message}"):
        config.load(edited(tmp_path, (old, new)))


def test_all_mistakes_are_named_at_once_a_line_each(tmp_path: Path) -> None:
    mistakes = ("image_size: 64", "image_size: -8"), ("unlock:", "unlok:"), ("ema_decay: 0.999", "ema_decay: 1")
    path = edited(tmp_path, *mistakes)
    with pytest.raises(UsdError) as found:
        config.load(path)
    assert [line.removeprefix(f"{path}: ") for line in str(found.value).splitlines()] == [
        "render.image_size: must be at least 16, found -8",
        "base.ema_decay: must be less than 1, found 1",
        "train.unlock: is missing; add it, or get it back with `git restore params.yaml`",
        "train.unlok: unknown key; did you mean unlock?",
    ]


def test_sections_are_frozen_and_checked_when_changed() -> None:
    train = config.load(ROOT / "params.yaml").train
    with pytest.raises(AttributeError):
        train.steps = 1  # type: ignore[misc]
    assert replace(train, steps=2).steps == 2
    with pytest.raises(ValidationError):
        replace(train, steps=0)


def test_it_is_read_as_dvc_reads_it() -> None:
    text = "{a: no, b: 010, c: 1e-4, d: yes, e: 1_000, f: 0o10, g: .5, h: ~, i: on}"
    assert config.parse_yaml(text, "") == parse_yaml(text, "")
    assert config.parse_yaml(text, "") | {"a": "no", "b": 10, "c": 1e-4} == config.parse_yaml(text, "")


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("train.ess_steps=3", lambda params: params.train.ess_steps == 3),
        ("train.learning_rate=1e-4", lambda params: params.train.learning_rate == 1e-4),
        ("evaluate.step_counts=[1, 4]", lambda params: params.evaluate.step_counts == [1, 4]),
        ('train.unlock="all"', lambda params: params.train.unlock == "all"),
        (
            "variants.us_diffusion.feedback_weight=3",
            lambda params: params.variants["us_diffusion"].feedback_weight == 3,
        ),
    ],
)
def test_what_an_experiment_writes_is_read(
    tmp_path: Path, override: str, found: Callable[[config.Params], bool]
) -> None:
    """`dvc exp run -S` writes YAML 1.2 without quotes: `precision: no`."""
    path = edited(tmp_path)
    apply_overrides(path, [override])
    assert "precision: no\n" in path.read_text()
    assert found(config.load(path))
    assert config.load(path).base == config.load(ROOT / "params.yaml").base


def test_the_weekly_grid_is_of_parameters_that_there_are(tmp_path: Path) -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    grid = next(each["parameters"]["grid"] for each in deployments if each["name"] == "weekly")
    path = edited(tmp_path)
    for key, values in grid.items():
        for value in values:
            apply_overrides(path, [f"{key}={json.dumps(value)}"])
            config.load(path)


def test_a_comment_stands_above_every_key() -> None:
    assert not [key for key, text in comments(TEXT) if not text.endswith(".")]


def test_editors_find_a_current_schema() -> None:
    assert TEXT.startswith(f"# yaml-language-server: $schema={SCHEMA}\n")
    assert (ROOT / SCHEMA).read_text() == schema(TEXT), "run python -m usd.config.schema"
    assert '"description": "Training steps."' in schema(TEXT)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("- train\n", r"profile\.yaml: not a mapping"),
        ("train: {steps: {many: 1}}\n", r"profile\.yaml: train\.steps: must be a whole number"),
        ("train: {stepz: 1}\n", r"profile\.yaml: train\.stepz: unknown key"),
        ("train: [", r"profile\.yaml: not valid YAML"),
    ],
)
def test_a_bad_profile_is_named_and_changes_nothing(tmp_path: Path, profile: str, message: str) -> None:
    (tmp_path / "profile.yaml").write_text(profile)
    with pytest.raises(UsdError, match=message):
        apply(tmp_path / "profile.yaml", edited(tmp_path))
    assert (tmp_path / "params.yaml").read_text() == TEXT


@pytest.mark.parametrize("text", ["", "# nothing\n", "hello", "- train"])
def test_a_params_file_without_sections_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UsdError, match=r"params\.yaml: not a mapping of sections"):
        apply(SMOKE, tmp_path / "params.yaml")


def test_a_mistake_is_that_of_the_file_it_stands_in(tmp_path: Path) -> None:
    path, profile = edited(tmp_path, ("image_size: 64", "image_size: 63")), tmp_path / "profile.yaml"
    profile.write_text("train: {workers: true, compile: 0}")  # equal to what is there, in Python
    with pytest.raises(UsdError) as found:
        apply(profile, path)
    assert [line.partition(": must")[0] for line in str(found.value).splitlines()] == [
        f"{path}: render.image_size",
        f"{profile}: train.workers",
        f"{profile}: train.compile",
    ]
    profile.write_text("render: {image_size: 64}")
    assert apply(profile, path) == ["render.image_size: 63 → 64"]


def test_a_profile_keeps_comments_line_ends_and_links(tmp_path: Path) -> None:
    path, profile, link = edited(tmp_path), tmp_path / "profile.yaml", tmp_path / "linked.yaml"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    link.symlink_to(path)
    profile.write_text("train: {steps: &n 7, log_every: *n}")
    assert apply(profile, link) == ["train.steps: 400 → 7", "train.log_every: 10 → 7"]
    assert link.is_symlink()
    assert path.read_bytes().count(b"\r\n") == TEXT.count("\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not found; run from the project's root"),
        (b"\xff", "not UTF-8"),
        (b"", "must be a mapping"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(UsdError, match=rf"params\.yaml: {message}"):
        config.load(tmp_path / "params.yaml")


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsdError, match="Is a directory; profiles/ has the profiles"):
        apply(tmp_path, edited(tmp_path))


@pytest.mark.parametrize("change", [lambda path: use("rendered", path), lambda path: apply(SMOKE, path)])
def test_outside_the_projects_root_the_root_is_named(tmp_path: Path, change: Callable[[Path], list[str]]) -> None:
    with pytest.raises(UsdError, match=r"params\.yaml: not found; run from the project's root"):
        change(tmp_path / "params.yaml")


def test_profiles_apply_keep_comments_and_cpu_undoes_them(tmp_path: Path) -> None:
    for profile in (ROOT / "profiles").glob("*.yaml"):
        path = edited(tmp_path)
        assert bool(apply(profile, path)) == (profile.stem not in ("cpu", "rendered"))
        config.load(path)
        if profile.stem != "smoke":
            apply(ROOT / "profiles/cpu.yaml", path)
            assert path.read_text() == TEXT


@pytest.mark.parametrize(("key", "bundled"), [("base", "models/base"), ("warm_start", "models/control")])
def test_a_start_that_is_not_there_is_said_before_any_work(
    key: str, bundled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = edited(tmp_path, (f"  {key}: {bundled}", f"  {key}: models/mine"))
    monkeypatch.chdir(tmp_path)
    assert getattr(config.load().train, key) == "models/mine"  # not a project yet
    (tmp_path / "dvc.yaml").touch()
    said = rf"params\.yaml: train\.{key}: models/mine is not there; name one that is, such as {bundled}, or download it"
    with pytest.raises(UsdError, match=said):
        config.load()
    (tmp_path / "models").mkdir()
    (tmp_path / "models/mine.dvc").touch()  # DVC fetches it
    config.load()
    path.write_text((ROOT / "params.yaml").read_text())
    config.load()  # stages make these

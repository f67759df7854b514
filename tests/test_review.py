"""`usd diff` on real git histories, and the workflow that posts it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.conftest import ROOT
from usd.cli import app
from usd.data.record import SPLITS
from usd.diff import data, stages
from usd.diff.comparison import compare
from usd.diff.markdown import LIMIT
from usd.diff.report import review
from usd.diff.revision import find
from usd.errors import UsdError
from usd.evaluation.gate import VARIANTS
from usd.images import encode_png
from usd.tasks import TRAINED, UNSEEN

CODE = (*sorted((ROOT / "usd").rglob("*.py")), ROOT / "dvc.yaml", ROOT / "params.yaml")
GATE = {"rmse_gain": 0.05, "floor_ratio": 0.8, "fd_gain": 1.0, "adherence_gain": 0.05, "speedup": 5.0}
GATE |= {"swapped_change": 0.02}
METRICS, SUMMARY = "results/us_diffusion/metrics.json", "results/validation/summary.json"
SAMPLES = "results/validation/samples.csv"


@dataclass(frozen=True)
class Project:
    """A project in git whose committed results are all up to date, at the tag `base`."""

    root: Path

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout

    def write(self, path: str, content: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def edit(self, path: str, change: Callable[[Any], object]) -> None:
        """Change a JSON or YAML file's value in place."""
        text = (self.root / path).read_text()
        value = json.loads(text) if path.endswith(".json") else YAML(typ="safe").load(text)
        change(value)
        if path.endswith(".json"):
            self.write(path, json.dumps(value, indent=1) + "\n")
        else:
            with (self.root / path).open("w") as file:
                YAML().dump(value, file)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")

    def lock(self) -> None:
        """Write a dvc.lock by which every stage is up to date."""
        work, outs = find("workspace", self.root), {}
        every = stages.read_stages(work)
        for stage in every:
            for path, cached in stage.outs.items():
                outs[path] = hashlib.md5(path.encode()).hexdigest() + ".dir" if cached else stages.md5(work, path)
        entries = {}
        for stage in every:
            params: dict[str, Any] = {}
            for file, key in stage.params:
                params.setdefault(file, {})[key] = stages.lookup(work.yaml(file), key)
            deps = [{"path": path, "md5": outs.get(path) or stages.md5(work, path)} for path in stage.deps]
            made = [{"path": path, "md5": outs[path]} for path in stage.outs]
            entries[stage.name] = {"cmd": stage.cmd, "deps": deps, "params": params, "outs": made}
        with (self.root / "dvc.lock").open("w") as file:
            YAML().dump({"schema": "2.0", "stages": entries}, file)

    def review(self, base: str = "base", head: str = "HEAD", form: Any = "md") -> str:
        return review(base, head, form, self.root).text

    def regressions(self) -> list[str]:
        return compare("base", "HEAD", self.root).regressions


def metrics(variant: str) -> dict[str, Any]:
    """Scores as stage `evaluate` writes them."""
    worse = 1.0 if variant == "us_diffusion" else 2.0
    maps = {"rmse": 0.1 * worse, "floor": 0.25, "floor_ratio": 0.4 * worse, "swapped_pair_change": 0.1}
    images = {"fd": 10.0 * worse, "kid": 0.5 * worse, "adherence_rmse": 0.2 * worse, "swapped_pair_change": 0.1}

    def scores(tasks: Any) -> dict[str, Any]:
        found: dict[str, Any] = {"image2map": {}, "map2image": {}}
        for task in tasks:
            found[task.direction][task.map.name] = dict(maps if task.direction == "image2map" else images)
        return found

    chosen = {"steps": 10, "guidance_scale": 1.0, "validation_rmse_by_steps": {"10": 0.1}}
    return scores(TRAINED) | {"unseen": scores(UNSEEN), "sampling": {"image2map": chosen}, "beside": {}}


def runs(variant: str) -> list[dict[str, Any]]:
    """Two seeds of the ablation, 2 % apart in RMSE and Fréchet distance."""
    trained = [{name: metrics(variant)[name] for name in ("image2map", "map2image")} for _ in range(2)]
    for direction, name in (("image2map", "rmse"), ("map2image", "fd")):
        for scores in trained[1][direction].values():
            scores[name] *= 1.02
    return trained


def summary(samples: dict[str, str]) -> dict[str, Any]:
    """A validation summary as stage `validate` writes it."""
    spread = {"mean": 0.5, "std": 0.1, "min": 0.0, "q0.5": 0.5, "max": 1.0}
    split = {
        "digest": "0",
        "statistics": {name: dict(spread) for name in ("depth", "brightness", "caption_length")},
        "classes": {"duck": {"pixels": 0.1, "std": 0.05, "images": 0.5}},
    }
    names = ("keys are unique", "depth is positive")
    counts = {name: sum(key.startswith(name) for key in samples) for name in SPLITS}
    return {
        "success": True,
        "digest": hashlib.sha256(json.dumps(samples).encode()).hexdigest(),
        "expectations": [{"name": name, "passed": True, "failing": 0, "observed": "", "keys": []} for name in names],
        "tasks": {task.name: counts for task in TRAINED} | {task.name: counts | {"train": 0} for task in UNSEEN},
        "splits": {name: json.loads(json.dumps(split | {"samples": count})) for name, count in counts.items()},
    }


def listing(samples: dict[str, str]) -> str:
    return "".join(f"{key},{digest}\n" for key, digest in [("key", "digest"), *sorted(samples.items())])


def tile(value: int) -> bytes:
    return encode_png(np.full((8, 8, 3), value, np.uint8))


KEYS = {f"{split}-{number:05d}": f"{number:012x}" for split in SPLITS for number in range(20)}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("template"))
    project.git("init", "--quiet", "--initial-branch", "main")
    for path in CODE:
        project.write(str(path.relative_to(ROOT)), path.read_bytes())
    project.edit("params.yaml", lambda params: params.update(gate=GATE))
    project.edit("dvc.yaml", lambda file: [file["stages"][name].update(frozen=True) for name in ("base", "ablation")])
    project.write(".gitignore", ".dvc/cache\n")
    project.write("README.md", "# Project\n")
    project.write(SUMMARY, json.dumps(summary(KEYS), indent=1))
    project.write(SAMPLES, listing(KEYS))
    for variant in VARIANTS:
        project.write(f"results/{variant}/metrics.json", json.dumps(metrics(variant), indent=1))
        project.write(f"results/{variant}/image2depth.png", tile(10))
    project.write("results/curves.png", tile(20))
    project.write("results/benchmark.json", json.dumps({"speedup_end_to_end": 9.0}))
    project.write("results/ablation/runs.json", json.dumps({variant: runs(variant) for variant in VARIANTS}))
    for stage in stages.read_stages(find("workspace", project.root)):
        for path, cached in stage.outs.items():
            if not cached and not (project.root / path).exists():
                project.write(path if "." in path else f"{path}/file", '{"seg_accuracy": 0.9}')
    project.lock()
    project.commit()
    project.git("tag", "base")
    return project


@pytest.fixture
def project(template: Project, tmp_path: Path) -> Project:
    return Project(shutil.copytree(template.root, tmp_path / "project"))


def run(project: Project, *arguments: str) -> Any:
    """The command itself, in the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        return CliRunner().invoke(app, ["diff", *arguments])


def test_an_unrelated_edit_changes_nothing(project: Project) -> None:
    project.write("README.md", "# Another\n")
    project.commit()
    text = project.review()
    assert text.startswith("**No change of data, parameters, metrics, figures or stages from base (")
    assert len(text.splitlines()) == 1
    assert "No change" in project.review(form="html")
    assert run(project, "base", "--fail-on-regression").exit_code == 0


def test_a_parameter_change_names_before_after_and_the_stages(project: Project) -> None:
    project.edit("params.yaml", lambda params: params["annotate"].update(canny_low=70, note="a|b `c` <d>"))
    project.edit("params.yaml", lambda params: params["gate"].pop("speedup"))
    project.commit()
    text = project.review()
    assert "parameters: 3 changed" in text.splitlines()[0]
    assert "| `annotate.canny_low` | `60` | `70` |" in text
    assert "| `annotate.note` | — | `\"a\\|b 'c' <d>\"` |" in text
    assert "| `gate.speedup` | `5.0` | — |" in text
    assert "| `annotate` | params.yaml: annotate.canny\\_low; params.yaml: annotate.note |" in text
    assert "Unchanged: data, validation, metrics, figures." in text
    assert "a|b `c` &lt;d&gt;" in project.review(form="html")


def test_stages_that_rerun_are_the_changed_ones_and_all_that_follow(project: Project) -> None:
    plan = stages.plan(find("base", project.root))
    assert (plan.reruns, plan.frozen) == ([], [])
    project.edit("params.yaml", lambda params: params["gate"].update(fd_gain=2.0))
    project.commit()
    assert [rerun.name for rerun in stages.plan(find("HEAD", project.root)).reruns] == ["report", "gate"]
    project.write("usd/annotators/maps.py", "# edited\n")
    project.commit()
    plan = stages.plan(find("HEAD", project.root))
    names = {stage.name for stage in stages.read_stages(find("HEAD", project.root))}
    assert {rerun.name for rerun in plan.reruns} == names - {"render", "base", "ablation"}
    reasons = {rerun.name: (rerun.reasons, rerun.after) for rerun in plan.reruns}
    assert reasons["annotate"] == (["usd/annotators/maps.py changed"], [])
    assert reasons["shard"] == ([], ["annotate", "validate"])
    project.edit("dvc.lock", lambda lock: lock["stages"].pop("evaluate@us_diffusion"))
    project.edit("params.yaml", lambda params: params["base"].update(steps=1))
    plan = stages.plan(find("workspace", project.root))
    assert next(each for each in plan.reruns if each.name == "evaluate@us_diffusion").reasons == ["not in dvc.lock"]
    assert [(each.name, each.reasons) for each in plan.frozen] == [("base", ["params.yaml: base.steps"])]


def test_stages_agree_with_dvc_status(project: Project) -> None:
    project.git("rm", "--quiet", "results/curves.png")
    project.write("usd/evaluation/metrics.py", "# edited\n")
    project.edit("params.yaml", lambda params: params["render"].update(seed=2))
    project.commit()
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    project.write(".dvc/config", "")
    found = json.loads(subprocess.run(command, cwd=project.root, check=True, capture_output=True).stdout)
    expected: dict[str, set[str]] = {}
    for name, states in found.items():
        changes = [change for state in states for change in state.values()]
        paths = {path for change in changes for path, how in change.items() if how in ("modified", "new")}
        paths |= {"results/curves.png"} & {path for change in changes for path in change}
        if any("params.yaml" in change for change in changes):
            paths = paths - {"params.yaml"} | {"params.yaml: render.seed"}
        expected |= {name: paths} if paths else {}
    plan = stages.plan(find("HEAD", project.root))
    ours = {rerun.name: {re.sub(r" (changed|is missing)$", "", why) for why in rerun.reasons} for rerun in plan.reruns}
    assert {name: reasons for name, reasons in ours.items() if reasons} == expected


def test_a_data_change_names_the_keys_and_shows_pictures(project: Project) -> None:
    scenes, annotated = {}, {}
    for revision, value, kept in (("before", 1, {*KEYS}), ("after", 2, {*KEYS, "val-00020"} - {"test-00003"})):
        scenes[revision] = {key: tile(value if key == "train-00001" else 5) for key in kept}
        annotated[revision] = {key: tile(7) for key in kept}

    def store(data: bytes, suffix: str = "") -> str:
        digest = hashlib.md5(data).hexdigest()
        project.write(f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}{suffix}", data)
        return digest + suffix

    def folder(pictures: dict[str, bytes], name: str) -> str:
        rows = [
            {"md5": store(data), "relpath": f"{key.split('-')[0]}/{key}.{name}.png"} for key, data in pictures.items()
        ]
        return store(json.dumps(rows).encode(), ".dir")

    def locked(revision: str) -> Callable[[Any], None]:
        def change(lock: Any) -> None:
            lock["stages"]["render"]["outs"][0]["md5"] = folder(scenes[revision], "image")
            lock["stages"]["annotate"]["outs"][0]["md5"] = folder(annotated[revision], "depth")

        return change

    project.edit("dvc.lock", locked("before"))
    project.commit()
    project.git("tag", "--force", "base")
    project.edit("dvc.lock", locked("after"))
    samples = KEYS | {"val-00020": "0" * 12, "train-00001": "f" * 12}
    del samples["test-00003"]
    project.write(SAMPLES, listing(samples))
    found = summary(samples)
    found["splits"]["train"]["statistics"]["depth"]["mean"] = 0.56
    found["splits"]["val"]["statistics"]["brightness"]["mean"] = 0.51
    found["splits"]["test"]["classes"]["duck"]["images"] = 0.9
    project.write(SUMMARY, json.dumps(found, indent=1))
    project.commit()
    text = project.review()
    assert "data: 1 added, 1 removed, 1 changed samples" in text.splitlines()[0]
    assert "| `any` | 20 | 20 → 21 | 20 → 19 |\n| `image2depth` | 20 | 20 → 21 | 20 → 19 |" in text
    assert "| `image2normal` | 0 | 20 → 21 | 20 → 19 |" in text
    assert "| depth | train | 0.5 ± 0.1 | 0.56 ± 0.1 | 0.60 | **moved far** |" in text
    assert "| brightness | val | 0.5 ± 0.1 | 0.51 ± 0.1 | 0.10 |  |" in text
    assert "| duck: share of images | train → test | 0.5 ± 0.5 | 0.9 ± 0.3 | 0.80 | **moved far** |" in text
    for key, kind in (("val-00020", "added"), ("test-00003", "removed"), ("train-00001", "changed")):
        assert f"<summary>Samples {kind}: 1</summary>\n\n| key |\n|---|\n| `{key}` |" in text
    page = project.review(form="html")
    assert page.count("<img") == 4  # before and after of the changed sample, one each of the others
    shutil.rmtree(project.root / ".dvc")
    assert "<img" not in project.review(form="html")
    assert project.review().splitlines()[0] == text.splitlines()[0]
    assert project.regressions() == []


def test_keys_are_unknown_where_a_revision_does_not_list_them(project: Project) -> None:
    project.git("rm", "--quiet", SAMPLES)
    project.edit(SUMMARY, lambda found: found.update(digest="another"))
    project.commit()
    text = project.review()
    assert "data: changed" in text.splitlines()[0]
    assert re.search(r"The keys of the samples are not known at HEAD \(\w{10}\)\.", text)


def test_the_list_of_samples_is_read_as_validate_writes_it(tmp_path: Path) -> None:
    import pandas as pd

    from usd.validation.summary import as_samples

    table = pd.DataFrame({"key": ["val-2", "train-1"], "sample_hash": ["a" * 64, "b" * 64]})
    project = Project(tmp_path)
    project.git("init", "--quiet")
    project.write(SAMPLES, as_samples(table))
    assert data.digests(find("workspace", tmp_path)) == {"train-1": "b" * 12, "val-2": "a" * 12}
    assert (tmp_path / SAMPLES).read_text() == f"key,digest\ntrain-1,{'b' * 12}\nval-2,{'a' * 12}\n"


def set_rmse(value: float) -> Callable[[Any], None]:
    def change(found: Any) -> None:
        for scores in found["image2map"].values():
            scores["rmse"] = value

    return change


@pytest.mark.parametrize(
    ("rmse", "verdict", "code"), [(0.103, "worse", 1), (0.102, "within noise", 0), (0.097, "better", 0)]
)
def test_metrics_are_judged_against_the_noise(project: Project, rmse: float, verdict: str, code: int) -> None:
    project.edit(METRICS, set_rmse(rmse))
    project.commit()
    text = project.review()
    assert f"metrics: 4 {verdict}" in text.splitlines()[0]
    row = "| `us_diffusion` | `mean of the trained tasks` | `rmse` | lower |"
    told = "**worse**" if verdict == "worse" else verdict
    assert f"{row} 0.1 | {rmse:g} | {rmse - 0.1:+.4g} | 0.002 | {told} |" in text
    assert run(project, "base", "--fail-on-regression").exit_code == code
    assert run(project, "base").exit_code == 0
    assert bool(project.regressions()) == bool(code)


def drop_kid(runs: Any) -> None:
    for seed in runs["us_diffusion"]:
        for scores in seed["map2image"].values():
            del scores["kid"]


def test_another_seed_is_no_regression_and_a_mended_metric_a_gain(project: Project) -> None:
    project.edit(METRICS, lambda found: found.update(runs("us_diffusion")[1]))
    project.commit()
    assert project.regressions() == []
    assert "within noise" in project.review().splitlines()[0]
    project.edit(METRICS, lambda found: found["image2map"]["seg"].update(rmse=float("nan")))
    project.commit()
    assert "us_diffusion, image2seg: rmse 0.1 → nan" in project.regressions()
    project.git("tag", "--force", "base")
    project.edit(METRICS, lambda found: found["image2map"]["seg"].update(rmse=0.1))
    project.commit()
    assert project.regressions() == []


def test_a_metric_without_noise_of_its_own_gets_the_widest_share(project: Project) -> None:
    def change(share: float) -> Callable[[Any], None]:
        return lambda found: found["map2image"]["hed"].update(kid=0.5 * (1 + share), swapped_pair_change=0.2)

    project.edit("results/ablation/runs.json", drop_kid)
    project.edit(METRICS, change(0.019))  # the widest range of a mean is 0.2 of 10.1
    project.commit()
    assert project.regressions() == []
    assert "0.5095 | +0.0095 | 0.0099 | within noise |" in project.review()
    assert "| `swapped_pair_change` | higher | 0.1 | 0.2 | +0.1 | 0 | better |" in project.review()
    project.edit(METRICS, change(0.021))
    project.commit()
    assert project.regressions() == ["us_diffusion, hed2image: kid 0.5 → 0.5105"]


def test_without_an_ablation_every_change_counts(project: Project) -> None:
    project.git("rm", "--quiet", "results/ablation/runs.json")
    project.commit()
    project.git("tag", "--force", "base")
    project.edit(METRICS, lambda found: found["image2map"]["seg"].update(rmse=0.10001))
    project.commit()
    assert project.regressions() == ["us_diffusion, image2seg: rmse 0.1 → 0.10001"]
    assert "the noise is not known and every change counts" in project.review()


def test_a_check_that_newly_fails_is_a_regression(project: Project) -> None:
    project.edit("params.yaml", lambda params: params["gate"].update(speedup=9.5))
    project.commit()
    name = "end-to-end speedup, ESS-10 over 100 DDIM steps"
    assert project.regressions() == [f"gate newly fails: {name}"]
    assert f"| {name} | 9 (≥ 5) | 9 (≥ 9.5) | **newly fails** |" in project.review()
    assert run(project, "base", "--fail-on-regression").exit_code == 1
    project.git("tag", "--force", "base")
    project.write("README.md", "x")
    project.commit()
    assert project.regressions() == []  # it failed before already
    project.edit("params.yaml", lambda params: params["gate"].update(speedup=2))
    project.commit()
    assert "gate: 1 fixed" in project.review().splitlines()[0]


def test_a_check_that_is_no_longer_made_is_a_regression(project: Project) -> None:
    project.edit(METRICS, lambda found: found["image2map"].pop("seg"))
    project.commit()
    gone = ["seg RMSE / floor", "image2map seg: change with a swapped pair"]
    metrics = [f"us_diffusion, image2seg: {name} is gone" for name in ("floor_ratio", "rmse", "swapped_pair_change")]
    assert project.regressions() == [*(f"gate no longer checks: {name}" for name in gone), *metrics]


def test_a_failing_expectation_is_named(project: Project) -> None:
    project.edit(SUMMARY, lambda found: found["expectations"][1].update(passed=False))
    project.commit()
    assert project.regressions() == ["validation newly fails: depth is positive"]
    assert "| depth is positive | **newly fails** |" in project.review()
    assert "| depth is positive | still fails |" in project.review("HEAD")
    assert "validation: 1 fixed" in project.review("HEAD", "base").splitlines()[0]


def test_an_expectation_that_is_no_longer_checked_is_told(project: Project) -> None:
    project.edit(SUMMARY, lambda found: found["expectations"].pop(0))
    project.commit()
    assert project.regressions() == ["validation no longer checks: keys are unique"]
    assert "| keys are unique | no longer checked |" in project.review()


def test_an_expectation_with_another_bound_is_the_same(project: Project) -> None:
    worse = []
    for words, passed in ((9, True), (12, True), (15, False), (18, False)):
        named = {"name": f"captions have {words} words", "passed": passed}
        project.edit(SUMMARY, lambda found, named=named: found["expectations"][0].update(named))
        project.commit()
        worse.append(compare("HEAD~1", "HEAD", project.root).regressions)
    assert worse[1:] == [[], ["validation newly fails: captions have 15 words"], []]


def test_deleted_results_are_told_and_counted(project: Project) -> None:
    project.git("rm", "--quiet", METRICS, SUMMARY)
    project.commit()
    text = project.review()
    assert r"results/us\_diffusion/metrics.json is gone." in text
    assert "The summary is gone." in text
    assert [each.split(":")[0] for each in project.regressions()] == [
        "the validation summary is gone",
        "the gate can no longer be judged",
        f"{METRICS} is gone",
    ]
    assert run(project, "base", "--fail-on-regression").exit_code == 1


def test_a_new_task_shows_in_counts_metrics_and_gate(project: Project) -> None:
    code = (project.root / "usd/tasks.py").read_text()
    row = '        Map("sketch", "sketch map", "lines", "palette", True),\n'
    marker = '        Map("normal"'
    assert marker in code
    project.write("usd/tasks.py", code.replace(marker, row + marker))

    def add(found: Any) -> None:
        for direction in ("image2map", "map2image"):
            found[direction]["sketch"] = found[direction]["depth"]

    project.edit(SUMMARY, lambda found: found["tasks"].update(image2sketch=found["tasks"]["image2depth"]))
    for variant in VARIANTS:
        project.edit(f"results/{variant}/metrics.json", add)
        project.write(f"results/{variant}/image2sketch.png", tile(3))
    project.commit()
    text = project.review()
    assert "| `image2sketch` | — → 20 | — → 20 | — → 20 |" in text
    assert "| `us_diffusion` | `sketch2image` | `fd` | lower | — | 10 | — | — | new |" in text
    assert "| sketch RMSE / floor | — | 0.4 (≤ 0.8) | passes |" in text
    assert "- `results/us_diffusion/image2sketch.png` added" in text
    assert "usd/tasks.py changed" in text
    assert project.regressions() == []


def test_figures_are_side_by_side(project: Project) -> None:
    project.write("results/us_diffusion/image2depth.png", tile(99))
    project.git("rm", "--quiet", "results/curves.png")
    project.commit()
    text, page = project.review(), project.review(form="html")
    assert "figures: 2 changed" in text.splitlines()[0]
    assert "- `results/curves.png` removed\n- `results/us_diffusion/image2depth.png` changed" in text
    assert page.count('src="data:image/png;base64,') == 3
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_thousands_of_changes_fit_a_comment(project: Project) -> None:
    samples = {f"train-{number:05d}": f"{number:012x}" for number in range(9000)}
    project.write(SAMPLES, listing(samples))
    project.edit("params.yaml", lambda params: params["train"].update({f"n{i}": "x" * 300 for i in range(3000)}))
    project.edit(METRICS, lambda found: found.update(extra={f"m{i}": {"rmse": i} for i in range(3000)}))
    project.commit()
    text = project.review()
    assert len(text) < 65_536
    assert len(text) <= LIMIT
    assert re.search(r"^… and \d+ more$", text, re.MULTILINE)
    assert "parameters: 3000 changed" in text.splitlines()[0]
    assert text.count("<details>") == text.count("</details>")


def test_the_same_revisions_give_the_same_bytes(project: Project, tmp_path: Path) -> None:
    project.edit(METRICS, set_rmse(0.2))
    project.write("results/curves.png", tile(1))
    project.write(SAMPLES, listing(KEYS | {"val-00001": "e" * 12}))
    project.commit()
    elsewhere = Project(shutil.copytree(project.root, tmp_path / "elsewhere"))
    for form in ("md", "html"):
        assert project.review(form=form) == elsewhere.review(form=form)


def test_uncommitted_work_is_the_workspace(project: Project) -> None:
    project.edit(METRICS, set_rmse(0.2))
    (project.root / "results/curves.png").unlink()
    project.write("results/us_diffusion/new.png", tile(1))
    assert "No change" in project.review().splitlines()[0]
    text = project.review(head="workspace")
    assert "to workspace: metrics: " in text.splitlines()[0]
    assert "`results/curves.png` removed" in text
    assert "`results/us_diffusion/new.png` added" in text


def test_it_works_without_torch(project: Project) -> None:
    code = "import sys; sys.modules['torch'] = None; from usd.cli import app; app(['diff', 'base'])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=project.root, env=environment, check=True)


def test_the_file_is_written_and_the_headline_printed(project: Project) -> None:
    found = run(project, "base", "HEAD", "--format", "html", "--out", "out/page.html")
    assert found.exit_code == 0
    assert found.stdout.startswith("No change of data")
    assert (project.root / "out/page.html").read_text() == project.review(form="html")


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (METRICS, "{", rf"{METRICS} of HEAD \(\w+\): not valid JSON"),
        (METRICS, "[]", "not a mapping"),
        (SUMMARY, "{}", "not a validation summary"),
        (SUMMARY, "[1]", "not a validation summary"),
        (SAMPLES, "a;b\n", "not rows of key,digest"),
        ("results/ablation/runs.json", "[1]", "not runs by variant"),
        ("results/benchmark.json", "x", "not valid JSON"),
        ("params.yaml", "a: [", "params.yaml of HEAD .*: not valid YAML"),
        ("params.yaml", "- 1", "not a mapping"),
        ("dvc.lock", "stages: [1]", "dvc.yaml or dvc.lock of HEAD .*: not readable"),
    ],
)
def test_an_unreadable_file_is_one_line(project: Project, path: str, content: str, message: str) -> None:
    project.write(path, content)
    project.commit()
    with pytest.raises(UsdError, match=message) as caught:
        project.review()
    assert "\n" not in str(caught.value)


def test_an_unknown_revision_is_one_line_and_exit_code_1(project: Project, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "usd.cli", "diff", "nowhere"]
    found = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert re.fullmatch(r"error: 'nowhere': git knows no such revision; fetch it.*\n", found.stderr)
    with pytest.raises(UsdError, match="not a git repository"):
        review("HEAD", "HEAD", "md", tmp_path)
    project.git("rm", "--quiet", "params.yaml", "dvc.yaml")
    project.commit()
    with pytest.raises(UsdError, match="run from the project's root"):
        project.review("HEAD")


def test_the_workflow_calls_what_there_is() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/review.yml").read_text())
    assert workflow[True] == "pull_request"  # YAML 1.1 reads the key `on` so
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]["comment"]["permissions"] == {"pull-requests": "write"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    lines = [line.strip() for step in steps for line in step.get("run", "").splitlines()]
    called = [line.split()[:2] for line in lines if line.split()[0] in ("usd", "make", "dvc", "cml")]
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {"usd": commands, "make": targets, "dvc": {"repro"}, "cml": {"comment"}}
    assert {tool for tool, _ in called} == {"usd", "make", "dvc", "cml"}
    for tool, command in called:
        assert command in known[tool]
    assert any(line.startswith("usd profile ") and (ROOT / line.split()[2]).is_file() for line in lines)
    assert any(line.startswith('usd diff "origin/$BASE" HEAD --format md') for line in lines)
    for step in steps:
        subprocess.run(["bash", "-n"], input=step.get("run", ""), text=True, check=True)
    commenting = [step.get("run", "") + step.get("uses", "") for step in workflow["jobs"]["comment"]["steps"]]
    assert not [text for text in commenting if "checkout" in text or "usd diff" in text]

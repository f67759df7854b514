"""A small project with a git history, for `usd diff` to compare."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dvc.dependency.param import ParamsDependency
from dvc.repo import Repo
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.conftest import ROOT
from usd.cli import app
from usd.config.training import VARIANTS
from usd.data.record import SPLITS
from usd.diff.layout import Review
from usd.diff.review import review, text
from usd.diff.revision import Revision, find
from usd.diff.stages import md5
from usd.images import encode_png
from usd.tasks import DIRECTIONS, TRAINED, UNSEEN

METRICS, SUMMARY = "results/us_diffusion/metrics.json", "results/validation/summary.json"
SAMPLES = "results/validation/samples.csv"
KEYS = {f"{split}-{number:05d}": f"{number:012x}" for split in SPLITS for number in range(20)}


@cache
def compare_commits(root: Path, _base: str, _head: str, base: str, head: str) -> Review:
    """The review of two names that stand for these commits."""
    return review(base, head, root)


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

    def commit_empty(self) -> None:
        self.git("commit", "--quiet", "--allow-empty", "--message", "empty")

    def store(self, data: bytes, suffix: str = "") -> str:
        """Put content into DVC's cache; its hash."""
        digest = hashlib.md5(data).hexdigest()
        self.write(f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}{suffix}", data)
        return digest + suffix

    def lock(self) -> None:
        """Write a dvc.lock by which every stage is up to date."""
        work, outs = find("workspace", self.root), {}
        with Repo(str(self.root), uninitialized=True) as repo:
            stages = repo.index.stages
            for out in (out for stage in stages for out in stage.outs):
                fake = hashlib.md5(out.def_path.encode()).hexdigest() + ".dir"
                outs[out.def_path] = fake if out.use_cache else md5(work, out.def_path)
            entries = {stage.name: self._entry(stage, outs, work) for stage in stages}
        with (self.root / "dvc.lock").open("w") as file:
            YAML().dump({"schema": "2.0", "stages": entries}, file)

    @staticmethod
    def _entry(stage: Any, outs: dict[str, Any], work: Revision) -> dict[str, Any]:
        params = {dep.def_path: dep.read_params() for dep in stage.deps if isinstance(dep, ParamsDependency)}
        deps = [dep.def_path for dep in stage.deps if not isinstance(dep, ParamsDependency)]
        return {
            "cmd": stage.cmd,
            "deps": [{"path": path, "md5": outs.get(path) or md5(work, path)} for path in deps],
            "params": params,
            "outs": [{"path": out.def_path, "md5": outs[out.def_path]} for out in stage.outs],
        }

    def review(self, base: str = "base", head: str = "HEAD", form: Any = "md") -> str:
        """The review as text."""
        return text(self.compared(base, head), form)

    def regressions(self, base: str = "base") -> list[str]:
        """What the review counts as worse."""
        return self.compared(base, "HEAD").regressions

    def compared(self, base: str, head: str) -> Review:
        """The review, made once for the same two commits."""
        if head == "workspace":
            return review(base, head, self.root)
        return compare_commits(self.root, *self.git("rev-parse", base, head).split(), base, head)

    def complaint(self, *arguments: str) -> str:
        """What `usd diff` says on its way out with exit code 1."""
        command = [sys.executable, "-m", "usd.cli", "diff", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr

    def run(self, *arguments: str) -> Any:
        """`usd diff` itself, in the project."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            return CliRunner().invoke(app, ["diff", *arguments])


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
    paper = {"ess-10": scores(TRAINED)}
    beside = {"unseen": scores(UNSEEN), "sampling": {"image2map": chosen}, "paper": paper, "obeys": 1.0}
    return scores(TRAINED) | beside


def retrained(variant: str, seed: int) -> dict[str, Any]:
    """Scores of a training with seed 1 or 2, 2 % apart in RMSE and Fréchet distance."""
    found = {name: metrics(variant)[name] for name in DIRECTIONS}
    for direction, name in (("image2map", "rmse"), ("map2image", "fd")):
        for scores in found[direction].values():
            scores[name] *= 1 + 0.02 * (seed - 1)
    return found


def study() -> dict[str, Any]:
    """Both variants with both seeds, as stage `study` writes them."""
    sampling = {"steps": 1, "nfe": 1, "guidance": 1.0}
    return {
        "rows": [
            {"variant": variant, "seed": seed, "direction": task.direction, "task": task.map.name}
            | sampling
            | retrained(variant, seed)[task.direction][task.map.name]
            for variant, seed, task in product(VARIANTS, (1, 2), TRAINED)
        ]
    }


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
        "expectations": [
            {"id": name, "name": name, "passed": True, "failing": 0, "observed": "", "keys": []} for name in names
        ],
        "tasks": {task.name: counts for task in TRAINED} | {task.name: counts | {"train": 0} for task in UNSEEN},
        "splits": {name: json.loads(json.dumps(split | {"samples": count})) for name, count in counts.items()},
    }


def listing(samples: dict[str, str]) -> str:
    return "".join(f"{key},{digest}\n" for key, digest in [("key", "digest"), *sorted(samples.items())])


def tile(value: int) -> bytes:
    return encode_png(np.full((8, 8, 3), value, np.uint8))


def set_rmse(value: float) -> Callable[[Any], None]:
    def change(found: Any) -> None:
        for scores in found["image2map"].values():
            scores["rmse"] = value

    return change

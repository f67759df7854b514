"""One project, made once; every test changes a copy of it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.diff.project import KEYS, SAMPLES, SUMMARY, Project, listing, metrics, study, summary, tile
from usd.config import Gate
from usd.config.training import VARIANTS
from usd.diff import figures, samples, stages
from usd.diff.dag import StageRecord, read_stages
from usd.diff.revision import Revision, find

CODE = (
    *sorted((ROOT / "usd").rglob("*.py")),
    ROOT / "dvc.yaml",
    ROOT / "params.yaml",
    ROOT / "models/no_networks/README.md",
    ROOT / "models/judges/README.md",
)
GATE = {"rmse_gain": 0.05, "floor_ratio": 0.8, "fd_gain": 1.0, "adherence_gain": 0.05, "speedup": 5.0}
GATE |= {
    "obeys": 0.5,
    "swapped_change": 0.02,
    **{name: 0.5 for name in Gate.__annotations__ if name.startswith("target_")},
}


COPY = "project"  # the folder of a test's copy


@pytest.fixture(scope="package", autouse=True)
def _read_each_commit_once() -> Iterator[None]:
    """DVC takes half a second to read a commit, and all copies have the same ones. Clones are read for themselves."""
    known: dict[str, tuple[StageRecord, ...]] = {}

    def once(revision: Revision) -> tuple[StageRecord, ...]:
        if not revision.commit or revision.root.name != COPY:
            return read_stages(revision)
        if revision.commit not in known:
            known[revision.commit] = read_stages(revision)
        return known[revision.commit]

    with pytest.MonkeyPatch.context() as patch:
        for module in (figures, samples, stages):
            patch.setattr(module, "read_stages", once)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("template"))
    project.git("init", "--quiet", "--initial-branch", "main")
    for path in CODE:
        project.write(str(path.relative_to(ROOT)), path.read_bytes())
    project.edit("params.yaml", lambda params: params.update(gate=GATE))
    project.edit("dvc.yaml", lambda file: [file["stages"][name].update(frozen=True) for name in ("base", "study")])
    project.write(".gitignore", ".dvc/cache\n.dvc/tmp\n.dvc/config.local\n")
    project.write(".dvc/config", "")
    project.write("README.md", "# Project\n")
    project.write(SUMMARY, json.dumps(summary(KEYS), indent=1))
    project.write(SAMPLES, listing(KEYS))
    for variant in VARIANTS:
        project.write(f"results/{variant}/metrics.json", json.dumps(metrics(variant), indent=1))
        project.write(f"results/{variant}/image2depth.png", tile(10))
    project.write("results/curves.png", tile(20))
    project.write("results/benchmark.json", json.dumps({"speedup_end_to_end": 9.0}))
    project.write("results/study/study.json", json.dumps(study()))
    for out in (out for stage in read_stages(find("workspace", project.root)) for out in stage.outs):
        if not out.cached and not (project.root / out.path).exists():
            project.write(out.path if "." in out.path else f"{out.path}/file", '{"seg_accuracy": 0.9}')
    project.lock()
    project.commit()
    project.git("tag", "base")
    return project


@pytest.fixture
def project(template: Project, tmp_path: Path) -> Project:
    return Project(shutil.copytree(template.root, tmp_path / COPY))


@pytest.fixture
def pictured(project: Project) -> Project:
    """Three samples differ from the tag `base`: one added, one removed, one changed; the cache has their pictures."""
    scenes, annotated = {}, {}
    for revision, value, kept in (("before", 1, {*KEYS}), ("after", 2, {*KEYS, "val-00020"} - {"test-00003"})):
        scenes[revision] = {key: tile(value if key == "train-00001" else 5) for key in kept}
        annotated[revision] = {key: tile(7) for key in kept}

    def folder(pictures: dict[str, bytes], name: str) -> str:
        rows = [
            {"md5": project.store(data), "relpath": f"{key.split('-')[0]}/{key}.{name}.png"}
            for key, data in pictures.items()
        ]
        return project.store(json.dumps(rows).encode(), ".dir")

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
    return project

"""The review as a whole: what it says, in both formats, and how it fails."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.diff.project import KEYS, METRICS, SAMPLES, SUMMARY, Project, listing, set_rmse, tile
from usd.config.training import VARIANTS
from usd.diff.markdown import LIMIT
from usd.diff.review import review
from usd.errors import UsdError

pytestmark = pytest.mark.slow


def test_an_unrelated_edit_changes_nothing(project: Project) -> None:
    project.write("README.md", "# Another\n")
    project.commit()
    text = project.review()
    assert text.startswith("**No change of data, parameters, metrics, figures or stages from base (")
    assert len(text.splitlines()) == 1
    assert "No change" in project.review(form="html")
    assert project.run("base", "--fail-on-regression").exit_code == 0


def test_deleted_results_are_told_and_counted(project: Project) -> None:
    project.git("rm", "--quiet", METRICS, SUMMARY)
    project.commit()
    text = project.review()
    assert r"results/us\_diffusion/metrics.json is gone." in text
    assert "The summary is gone." in text
    assert [each.split(":")[0] for each in project.regressions()] == [
        "the validation summary is gone",
        f"{METRICS} is gone",
        "the gate can no longer be judged",
    ]
    assert project.run("base", "--fail-on-regression").exit_code == 1


def test_a_new_task_shows_in_counts_metrics_and_gate(project: Project) -> None:
    code = (project.root / "usd/tasks.py").read_text()
    row = '        Map("sketch", "sketch map", trained=True),\n'
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
    found = project.run("base", "HEAD", "--format", "html", "--out", "out/page.html")
    assert found.exit_code == 0
    assert found.stdout.startswith("No change of data")
    assert (project.root / "out/page.html").read_text() == project.review(form="html")


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (METRICS, "{", rf"{METRICS} of HEAD \(\w+\): not valid JSON"),
        (METRICS, '{"a":' * 9000, "not valid JSON"),
        (METRICS, "[]", r"\(\w+\): not a mapping"),
        (METRICS, '{"image2map": null}', rf"{METRICS} of HEAD .*: image2map: not a mapping"),
        (METRICS, '{"image2map": {"depth": 3}}', "image2map.depth: not a mapping"),
        (METRICS, '{"paper": {"ess-10": {"map2image": {"hed": {"fd": "x"}}}}}', "paper.ess-10.map2image.hed.fd: not a"),
        (METRICS, '{"image2map": {"depth": {"rmse": null}}}', "image2map.depth.rmse: not a number"),
        (METRICS, '{"obeys": "most"}', "obeys: not a number"),
        (METRICS, f'{{"extra": {{"items": 1{"0" * 400}}}}}', "extra.items: not a number of double precision"),
        (SUMMARY, "{}", "not a validation summary"),
        (SUMMARY, "[1]", "not a validation summary"),
        (SUMMARY, '{"digest": "", "expectations": [], "splits": {"train": {"samples": Infinity}}}', "not a validation"),
        (SAMPLES, "a;b\n", "not rows of key,digest"),
        ("results/study/study.json", "[1]", "not the rows of runs"),
        ("results/benchmark.json", "x", "not valid JSON"),
        ("params.yaml", "a: [", "params.yaml of HEAD .*: not valid YAML"),
        ("params.yaml", "- 1", "not a mapping"),
        ("params.yaml", "a: &x {b: *x}", "not valid YAML: Circular reference"),
        ("params.yaml", "a: !!bool maybe", r"not valid YAML: a value does not fit its tag \('maybe'\)"),
        (
            "params.yaml",
            "a: 1\na: 2",
            'not valid YAML: .*, line 1, column 1 found duplicate key "a"(?!.*suppress)',
        ),
        ("params.yaml", f"a: {'[' * 500}", "not valid YAML: more than 50 levels of nesting"),
        (
            "dvc.lock",
            "<<<<<<<",
            r"dvc.yaml or dvc.lock of HEAD .*: not readable .*; restore it from git, then `dvc repro`",
        ),
        (".dvc/config", "[core", r"\.dvc/config or \.dvcignore of HEAD .*: not readable \(config file error"),
        (".dvcignore", b"\xff", r"\.dvc/config or \.dvcignore of HEAD .*: not readable \('utf-8' codec"),
    ],
)
def test_an_unreadable_file_is_one_line(project: Project, path: str, content: str | bytes, message: str) -> None:
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
    for name, pair in {"main...HEAD": "main HEAD", "main..": "main"}.items():
        with pytest.raises(UsdError, match=f"'{name}': a range is two names here, as in `usd diff {pair}`"):
            review(name, "HEAD", project.root)
    for name in ("HEAD", "workspace"):
        with pytest.raises(UsdError, match="not a git repository, which an archive of the files is not"):
            review(name, name, tmp_path)
    project.git("rm", "--quiet", "params.yaml", "dvc.yaml")
    project.commit()
    with pytest.raises(UsdError, match="run from the project's root"):
        project.review("HEAD")


def test_a_shallow_clone_is_told_how_to_get_the_rest(project: Project, tmp_path: Path) -> None:
    project.git("clone", "--quiet", "--depth", "1", f"file://{project.root}", str(tmp_path / "shallow"))
    with pytest.raises(UsdError, match=r"'HEAD~1': git knows no such revision; fetch it \(`git fetch --unshallow`"):
        review("HEAD~1", "HEAD", tmp_path / "shallow")


def test_a_partial_clone_is_told_how_to_get_the_rest(project: Project, tmp_path: Path) -> None:
    project.git("config", "uploadpack.allowFilter", "true")
    partial = ("--filter=blob:none", "--no-checkout")
    project.git("clone", "--quiet", *partial, f"file://{project.root}", str(tmp_path / "partial"))
    with pytest.raises(UsdError, match=r"^\S+ of HEAD \(\w+\): not readable \(No such .* --refetch --no-filter`$"):
        review("HEAD", "HEAD", tmp_path / "partial")
    Project(tmp_path / "partial").git("fetch", "--quiet", "--refetch", "--no-filter")
    assert review("HEAD", "HEAD", tmp_path / "partial").changed == {}


@pytest.mark.parametrize(("path", "message"), [(".dvcignore", "Is a directory"), ("params.yaml", "Too many levels of")])
def test_what_is_no_file_in_the_work_tree_is_one_line(project: Project, path: str, message: str) -> None:
    if path == "params.yaml":
        (project.root / path).unlink()
        (project.root / path).symlink_to(path)
    else:
        (project.root / path).mkdir()
    with pytest.raises(UsdError, match=rf"{path} of workspace: not readable \({message}.*\); restore it"):
        review("HEAD", "workspace", project.root)


def test_a_branch_is_compared_with_the_commit_where_it_left_the_base(project: Project) -> None:
    project.git("switch", "--quiet", "--create", "docs")
    project.write("README.md", "# Another\n")
    project.commit()
    project.git("switch", "--quiet", "main")
    project.edit(METRICS, set_rmse(0.05))  # main got better meanwhile
    project.commit()
    project.git("switch", "--quiet", "docs")
    found = review("main", "HEAD", project.root)
    assert (found.changed, found.regressions) == ({}, [])
    assert found.base.startswith("merge base with main (")
    assert review("main", "workspace", project.root).regressions == []
    assert project.run("main", "--tip", "--fail-on-regression").exit_code == 1
    project.git("switch", "--quiet", "--orphan", "unrelated")
    project.commit_empty()
    with pytest.raises(UsdError, match=r"no common ancestor; .*--unshallow.*--tip"):
        review("main", "HEAD", project.root)


def test_the_commands_of_the_page_run(project: Project) -> None:
    project.git("update-ref", "refs/remotes/origin/main", "HEAD")
    lines = [line.split("#")[0] for line in (ROOT / "docs/review.md").read_text().splitlines()]
    commands = [line.split()[2:] for line in lines if line.startswith("usd diff ") and "--fetch" not in line]
    assert len(commands) == 5
    for arguments in commands:
        assert project.run(*arguments).exit_code == 0, arguments

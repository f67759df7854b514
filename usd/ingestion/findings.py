"""What became of every file of a source: the report of `usd ingest`."""

import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.table import Table
from rich.text import Text

from usd.files import path_text

REPORT = "report.csv"
DATASET = "(dataset)"
TOGETHER = "taken with all its files or not at all"  # before the name of the file at fault
ALONE = "a map without its image"  # before what it would be called
LISTED = 40  # refused files that the table names; the report names all


@dataclass(frozen=True)
class Finding:
    """What became of one file."""

    file: str  # its path in the source; DATASET for what concerns all
    status: Literal["accepted", "repaired", "refused", "noted"]
    detail: str = ""  # the repairs, the reason, or what was decided about the dataset
    key: str = ""  # of the sample that it is in


def refused(path: Path, reason: str) -> Finding:
    """A file that cannot be used."""
    return Finding(path_text(path), "refused", reason)


def noted(detail: str) -> Finding:
    """What was decided, or is to be decided, about the dataset as a whole."""
    return Finding(DATASET, "noted", detail)


def reasons(findings: list[Finding]) -> Counter[str]:
    """How many files were refused for each reason; a picture's and its maps' are one, whichever file is at fault.

    Maps without images are one, whatever they are called.
    """
    details = (finding.detail for finding in findings if finding.status == "refused")
    return Counter(re.sub(f"^({TOGETHER}|{ALONE}):[^;]*", r"\1", each) for each in details)


def as_csv(findings: list[Finding]) -> str:
    """All findings, a row each."""
    table: str = pd.DataFrame([asdict(finding) for finding in findings]).to_csv(index=False)
    return table


def as_table(findings: list[Finding]) -> Table:
    """The findings for a reader: counts, the kinds of repair, and the refused files with their reasons."""
    counts = Counter(finding.status for finding in findings)
    repairs = Counter(
        repair.partition(":")[0]
        for finding in findings
        if finding.status == "repaired"
        for repair in finding.detail.split(", ")
    )
    table = Table("", "files", "")
    table.add_row("accepted", str(counts["accepted"]), "")
    table.add_row("repaired", str(counts["repaired"]), ", ".join(f"{name} {n}" for name, n in repairs.most_common()))
    table.add_row("refused", str(counts["refused"]), f"all in {REPORT}" if counts["refused"] > LISTED else "")
    for finding in [each for each in findings if each.status == "refused"][:LISTED]:
        table.add_row("", Text(_shown(finding.file), overflow="fold"), Text(finding.detail, overflow="fold"))
    for finding in findings:
        if finding.status == "noted":
            table.add_row("noted", "", Text(finding.detail, overflow="fold"))
    return table


def _shown(name: str) -> str:
    """A name on one line, whatever is in it."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)

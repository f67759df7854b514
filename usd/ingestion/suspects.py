"""Folders of maps whose names do not say so: refused, rather than taken for training pictures."""

from collections import defaultdict
from pathlib import Path

from usd.ingestion.checking import Checked
from usd.ingestion.findings import Finding, name_of, refused
from usd.ingestion.names import one_form

FEWEST = 3  # pictures in a folder; of fewer, one in a thousand might be black and white by chance


def without_suspects(checked: list[Checked]) -> tuple[list[Checked], list[Finding]]:
    """The samples without those that look like maps of others, and the findings on these.

    A folder is suspect if all its pictures are grey or of a palette, none has a map, and each has a namesake in one
    other folder, whose pictures are not like that: `gt/0.png` beside `photographs/0.jpg`.
    """
    folders: dict[Path, dict[str, Checked]] = defaultdict(dict)
    for each in checked:
        image = each.job.sample.files["image"]
        if each.row:
            folders[image.parent][one_form(image.stem)] = each
    plain = {
        folder: len(found) >= FEWEST and all(each.plain and len(each.job.sample.files) == 1 for each in found.values())
        for folder, found in folders.items()
    }
    coloured = [folder for folder in folders if not plain[folder]]
    findings: dict[int, Finding] = {}
    for folder in (folder for folder in folders if plain[folder]):
        names = folders[folder].keys()
        if beside := next((other for other in coloured if names <= folders[other].keys()), None):
            why = (
                f"all of {name_of(folder)}/ is grey or of few colours, and named like {name_of(beside)}/: maps? "
                "call the folder depth, hed, seg or normal; or give pictures other names"
            )
            for each in folders[folder].values():
                findings[id(each)] = refused(each.job.sample.files["image"], why)
    return [each for each in checked if id(each) not in findings], list(findings.values())

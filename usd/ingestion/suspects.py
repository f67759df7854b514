"""Pictures that look like maps, but whose names do not say so: refused, rather than taken for training pictures."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from usd.ingestion.checking import Checked
from usd.ingestion.findings import Finding, name_of, refused
from usd.ingestion.names import one_form

FEWEST = 3  # pictures in a series; of fewer, one in a thousand might be black and white by chance
MARK = re.compile(r"[._ -]")  # between the parts of a name


@dataclass
class Series:
    """Pictures that are named alike: those of a folder, or of them those whose names begin or end alike."""

    members: dict[str, Checked] = field(default_factory=dict)  # by what their names have of their own

    @property
    def plain(self) -> bool:
        """Whether all are grey or of a palette, and none has a map."""
        return all(each.plain and len(each.job.sample.files) == 1 for each in self.members.values())


def without_suspects(checked: list[Checked]) -> tuple[list[Checked], list[Finding]]:
    """The samples without those that look like maps of others, and the findings on these.

    A series is suspect if all its pictures are grey or of a palette, none has a map, and each has a namesake in one
    other series that is not like that: `gt/0.png` beside `photographs/0.jpg`, or `0_B.png` beside `0_A.png`.
    """
    series: dict[str, Series] = defaultdict(Series)
    coloured: dict[str, list[str]] = defaultdict(list)  # what a name has of its own → the series that are not plain
    for each in checked:
        if each.row:
            for pattern, own in _patterns(each.job.sample.files["image"]):
                series[pattern].members[own] = each
    suspects = [pattern for pattern, some in series.items() if some.plain and len(some.members) >= FEWEST]
    for pattern, some in series.items():
        if not some.plain:
            for own in some.members:
                coloured[own].append(pattern)
    findings: dict[int, Finding] = {}
    for pattern in suspects:
        found = series[pattern].members
        others = coloured.get(next(iter(found)), [])
        if beside := next((other for other in others if found.keys() <= series[other].members.keys()), None):
            why = (
                f"all of {pattern} is grey or of few colours, and named like {beside}: maps? call the folder, or the "
                "end of the names, depth, hed, seg or normal; or give pictures other names"
            )
            for each in found.values():
                findings.setdefault(id(each), refused(each.job.sample.files["image"], why))
    return [each for each in checked if id(each) not in findings], list(findings.values())


def _patterns(image: Path) -> Iterator[tuple[str, str]]:
    """The series that a picture is in, and what its name has of its own there; folders come first."""
    stem, marks = one_form(image.stem), list(MARK.finditer(one_form(image.stem)))
    yield f"{name_of(image.parent)}/", stem
    if not marks:
        return
    folder = "" if image.parent == Path() else f"{name_of(image.parent)}/"
    (start, end), (last_start, last_end) = marks[0].span(), marks[-1].span()
    if last_start > 0 and last_end < len(stem):
        yield f"{folder}*{stem[last_start:]}", stem[:last_start]
    if start > 0 and end < len(stem):
        yield f"{folder}{stem[:end]}*", stem[end:]

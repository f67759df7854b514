"""Pictures that look like maps, but whose names do not say so: refused, rather than taken for training pictures."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from usd.files import path_text
from usd.ingestion.checking import Checked
from usd.ingestion.findings import Finding, noted, refused
from usd.ingestion.names import place_of
from usd.ingestion.words import WORDS, Words, as_key, one_form, spelt

FEWEST = 3  # pictures in a series; of fewer, one in a thousand might be black and white by chance
ODD = 0.05  # share of a series that may be unlike the others, and one of those whose names end alike
ENDING_REMEDY = "give their pictures' whole names an ending depth, hed, seg or normal"
MARK = re.compile("(?<=.)[._ -](?=.)")  # where an ending of a file's name may begin


@dataclass
class Series:
    """The pictures of a folder, or those of them whose names end alike."""

    folder: Path
    ending: str  # of one word or more; "" for all of the folder
    members: dict[str, Checked] = field(default_factory=dict)  # by their names, without the ending
    plain: set[str] = field(default_factory=set)  # the names of those that are grey or of few colours, and have no map

    def __str__(self) -> str:
        """As an error message names it."""
        folder = "" if self.ending and self.folder == Path() else f"{path_text(self.folder)}/"
        return f"{folder}*{self.ending}" if self.ending else folder

    def add(self, own: str, picture: Checked) -> None:
        """Take in one picture."""
        self.members[own] = picture
        if picture.plain and len(picture.job.sample.files) == 1:
            self.plain.add(own)

    @property
    def whole(self) -> bool:
        """Whether its pictures' own names are all of their names, or all but a word such as `_rgb`."""
        return not self.ending or WORDS.get(spelt(self.ending[1:])) == "image"

    @property
    def one_word(self) -> bool:
        """Whether its ending is one word."""
        return len(MARK.split(f"x{self.ending}")) == 2

    @property
    def pattern(self) -> str:
        """Its ending whatever the numbers in it, if they number something: `_mask_#`."""
        return re.sub(r"\d+", "#", self.ending) if any(map(str.isalpha, self.ending)) else self.ending

    @property
    def all_plain(self) -> bool:
        """Whether no picture looks otherwise."""
        return len(self.plain) == len(self.members)


def without_suspects(checked: list[Checked], folders: Mapping[str, str]) -> tuple[list[Checked], list[Finding]]:
    """The samples without those that look like maps of others, and the findings on these; and a note on doubtful ones.

    A series is suspect if all its pictures are grey or of few colours, none has a map, and each has a namesake in
    another series that is not like that: `gt/0.png` beside `photographs/0.jpg`, `0_depth_mask.png` beside `0.jpg` or
    `0_rgb.jpg`, or `0_B.png` beside `0_A.png` in one folder.
    Where the namesakes are in colour, one picture or a few may lack theirs, or be in colour in a series that is not
    a folder; but numbered pictures of one thing, which share their numbers by chance, must all be like that. With
    `0_mask_1.png` goes `0_mask_2.png`, however few there are of these.

    Args:
        checked: all samples.
        folders: what the source's own are declared to hold; one of images as a whole is not suspect.
    """
    images = {spelt(name) for name, field in folders.items() if field == "image"}
    series: dict[tuple[Path, str], Series] = {}
    for each in checked:
        if each.row:
            for folder, own, ending in _places(each.job.sample.files["image"]):
                series.setdefault((folder, ending), Series(folder, ending)).add(own, each)
    coloured: dict[str, list[Series]] = defaultdict(list)
    for some in series.values():
        if not some.all_plain:
            for own in some.members:
                coloured[own].append(some)
    known: dict[tuple[Path, str], tuple[Series, str]] = {}
    for some in series.values():
        beside = _beside(some, coloured) if len(some.plain) >= FEWEST else None
        if beside and not _declared(some, beside, images):
            share = "all" if some.all_plain else "most"
            why = f"{share} of {some} is grey or of few colours, and named like {beside}: maps? {_remedy(some, beside)}"
            known.setdefault((some.folder, some.ending), (some, why))
            known.setdefault((some.folder, some.pattern), (beside, why))
    findings: dict[int, Finding] = {}
    for some in series.values():
        for key in ((some.folder, some.ending), (some.folder, some.pattern)):
            others, why = known.get(key, (None, ""))
            for own in some.plain & others.members.keys() if others else ():
                file = some.members[own].job.sample.files["image"]
                findings.setdefault(id(some.members[own]), refused(file, why))
    kept = [each for each in checked if id(each) not in findings]
    return kept, [*findings.values(), *_hint(kept, series)]


def _declared(suspect: Series, beside: Series, images: Set[str]) -> bool:
    """Whether a whole folder is declared to hold pictures, by its own name or by the one that its message says."""
    apart = "" if suspect.folder == beside.folder else _apart(beside.folder, suspect.folder)[1]
    return not suspect.ending and not images.isdisjoint({spelt(suspect.folder.name), spelt(apart)})


def _remedy(suspect: Series, beside: Series) -> str:
    """What to do if they are maps of the pictures that they are named like, and if they are not."""
    if suspect.folder == beside.folder:
        return f"{ENDING_REMEDY}; or give pictures other names"
    own = min(suspect.plain & beside.members.keys())
    one, other = (some.members[own].job.sample.files["image"] for some in (beside, suspect))
    parts = _apart(one.parent, other.parent)
    words = Words({spelt(part): field for part, field in zip(parts, ("image", "seg"), strict=True) if part}, {})
    if parts[1] and place_of(one, words).name.lower() == place_of(other, words).name.lower():
        first = f"{as_key(parts[0])}: image, " if parts[0] else ""
        rest = "none; or give pictures other names" if suspect.ending else "image or none"
        declared = f"`folders: {{{first}{as_key(parts[1])}: …}}`"
        return f"say what they are in maps.yaml, {declared}: depth, hed, seg, normal, {rest}"
    return f"move them to {path_text(one.parent)}/, and {ENDING_REMEDY}; or give pictures other names"


def _apart(one: Path, other: Path) -> tuple[str, str]:
    """The part in which two folders differ; nothing where one has none there, or where more parts differ."""
    mine, its = one.parts, other.parts
    place = next(place for place, parts in enumerate(zip_longest(mine, its)) if parts[0] != parts[1])
    if len(mine) == len(its) and mine[place + 1 :] == its[place + 1 :]:
        return mine[place], its[place]
    if mine[place:] == its[place + 1 :]:
        return "", its[place]
    return (mine[place], "") if mine[place + 1 :] == its[place:] else ("", "")


def _hint(kept: list[Checked], series: dict[tuple[Path, str], Series]) -> Iterator[Finding]:
    """A note on pictures too few to be suspect, but named like one in colour in their folder with an ending."""
    whole: dict[tuple[Path, str], list[Series]] = defaultdict(list)
    for some in series.values():
        if some.whole and not some.all_plain:
            for own in some.members:
                whole[some.folder, own].append(some)
    found: list[tuple[Path, Path]] = []
    for each in kept:
        if each.row and each.plain and len(each.job.sample.files) == 1:
            for folder, own, ending in _places(each.job.sample.files["image"]):
                pairs = [other.members[own] for other in whole.get((folder, own), []) if own not in other.plain]
                few = len(series[folder, ending].members) < FEWEST and any(map(str.isalpha, ending))
                found += [(each.job.sample.files["image"], pair.job.sample.files["image"]) for pair in pairs if few]
    if found:
        one, other = map(path_text, found[0])
        yield noted(
            f"pictures that are grey or of few colours, and named like another with an ending: {len(dict(found))}, "
            f"such as {one} beside {other}; if they are maps, {ENDING_REMEDY}"
        )


def _places(image: Path) -> Iterator[tuple[Path, str, str]]:
    """Folder, own name and ending of the series that a picture is in."""
    stem = one_form(image.stem)
    yield image.parent, stem, ""
    for mark in MARK.finditer(stem):
        yield image.parent, stem[: mark.start()], stem[mark.start() :]


def _beside(suspect: Series, coloured: dict[str, list[Series]]) -> Series | None:
    """The series whose pictures are named like the suspect's, without its ending.

    A word such as `_rgb` does not count. If the suspect's ending is one word, so may be that of the other, in the same
    folder. Beginnings are not a sign: pictures of one thing are numbered, `grandma_1` as well as `beach_1`.
    """
    few = max(1 if suspect.ending else 0, int(ODD * len(suspect.members)))
    lacking = 0 if suspect.ending[1:].isdigit() else few  # that may have no namesake
    unlike = lacking if suspect.ending else 0  # that may be in colour
    if len(suspect.members) - len(suspect.plain) > unlike:
        return None
    candidates = list({id(other): other for own in sorted(suspect.plain) for other in coloured.get(own, [])}.values())
    here = suspect.folder if suspect.one_word else None
    candidates = [each for each in candidates if each.whole or (each.one_word and each.folder == here)]
    for other in candidates:
        named = suspect.plain & other.members.keys()
        pairs = named - other.plain
        if len(named) == len(suspect.members) or len(pairs) >= max(FEWEST, len(suspect.members) - lacking):
            return other
    return None

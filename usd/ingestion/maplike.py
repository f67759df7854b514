"""Pictures that look like maps and are unlike the others, whatever these are called: refused, or noted where in doubt.

`usd.ingestion.suspects` has those that are named like other pictures. A picture with a caption of its own, and one in
a folder that is declared to hold images, is taken as it is.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from usd.files import path_text
from usd.ingestion.checking import Checked
from usd.ingestion.findings import Finding, noted, refused
from usd.ingestion.suspects import ENDING_REMEDY, FEWEST, MARK, ODD
from usd.ingestion.words import WORDS, as_key, one_form, spelt
from usd.tasks import MAPS

# Where a word of `classSegmentation` ends.
CAMEL = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][^\W\d_A-Z])")
PLAIN_WORDS = {word for word, field in WORDS.items() if field in MAPS} | {  # of names of grey pictures that are maps
    *("gt", "groundtruth", "truth", "annotation", "anno", "annos", "annotated", "parsing", "matting", "trimap"),
    *("trimaps", "panoptic", "instance", "instances", "silhouette", "silhouettes", "labelled", "labeled", "instancegt"),
}
SURE_WORDS = {"depth", "depths", "disparity", "seg", "segmentation", "segmentations", "semantic", "semantics"}
NORMAL_WORDS = {"normal", "normals"}  # a class of pictures may be called so, an ending of names is not
SHOWN_WORDS = {"viz", "vis", "visualization", "visualisation", "overlay", "overlays"}  # of a map, for the eye


@dataclass(frozen=True)
class Group:
    """Pictures whose names have a part in common."""

    shown: str  # as messages name it
    word: str = field(compare=False)  # that part
    folder: bool = field(compare=False)  # whether it is a folder's name
    own: str = field(compare=False)  # what is left of a picture's name without it, which may be another's name

    @property
    def remedy(self) -> str:
        """What to do if they are maps, or pictures."""
        if self.folder:
            return (
                f"say which in maps.yaml, `folders: {{{as_key(self.word)}: …}}`: depth, hed, seg, normal, image or none"
            )
        return f"if they are, {ENDING_REMEDY}; if not, give them captions or other names"


@dataclass(frozen=True)
class Look:
    """How maps look, which names go with that, and how most other pictures look then."""

    why: str
    of: Callable[[Checked], bool]
    named: Callable[[Group], bool]
    others: Callable[[Checked], bool]


LOOKS = (
    Look(
        "has few colours, unlike the other pictures",
        of=lambda each: each.few,
        named=lambda _: True,
        others=lambda each: not each.few,
    ),
    Look(
        "is grey of 16 bits, unlike the other pictures",
        of=lambda each: each.deep,
        named=lambda _: True,
        others=lambda each: not each.plain,
    ),
    Look(
        "is grey or of few colours, and called as maps are",
        of=lambda each: each.plain,
        named=lambda group: bool(PLAIN_WORDS & words_of(group.word)),
        others=lambda each: not each.plain,
    ),
)


def without_maplike(checked: list[Checked], folders: Collection[str]) -> tuple[list[Checked], list[Finding]]:
    """The samples without those that are maps by their looks and names, and the findings on these; a note on the rest.

    Suspect are at least three pictures in a folder, or with a part of their names in common, of which all but a few

    - have few colours, where most others do not; or are grey of 16 bits, where most others are in colour;
    - are grey or of few colours and called as maps are, where most others are in colour;
    - are called as maps of other pictures are, such as `0.depth_meters.png` beside `0.tonemap.png`.

    Args:
        checked: all samples.
        folders: the names of those that are declared.
    """
    there = [each for each in checked if _is_there(each)]
    open_ones = [each for each in there if undeclared(each, folders)]
    findings: dict[int, Finding] = {}
    plain, sizes = _plain_groups(open_ones, there)
    for look in LOOKS:
        groups = _alike(plain, sizes, look)
        inside = {id(each) for members in groups.values() for each in members} | findings.keys()
        others = [each for each in there if id(each) not in inside]
        if len(others) >= FEWEST and sum(map(look.others, others)) * 2 > len(others):
            findings = _refusals(groups, look.why) | findings
    findings = _refusals(_named(open_ones, there), "is called as maps of other pictures are") | findings
    kept = [each for each in checked if id(each) not in findings]
    return kept, [*findings.values(), *_note(kept, open_ones)]


def words_of(text: str) -> set[str]:
    """The words of a name in lower case, parted by other signs than letters or by capitals."""
    return set(re.findall(r"[^\W\d_]+", CAMEL.sub(" ", one_form(text)).lower()))


def _is_there(each: Checked) -> bool:
    """Whether it is taken, or a picture that is refused with its maps."""
    return bool(each.row) or len(each.job.sample.files) > 1


def undeclared(each: Checked, folders: Collection[str]) -> bool:
    """Whether nothing but its place says that it is a picture; `folders` are those that are declared."""
    sample = each.job.sample
    parts = {spelt(part) for part in sample.files["image"].parent.parts}
    return len(sample.files) == 1 and not sample.captioned and parts.isdisjoint(map(spelt, folders))


def _groups(each: Checked) -> list[Group]:
    """What a picture is in, first its folders from the top.

    Then those whose names are its own but for numbers, or end or begin alike; and those of its name in other folders.
    """
    image = each.job.sample.files["image"]
    parts, stem = image.parent.parts, one_form(image.stem)
    found = [Group(f"{path_text(Path(*parts[:depth]))}/", part, True, stem) for depth, part in enumerate(parts, 1)]
    pattern = re.sub(r"\d+", "#", stem)
    cuts = [(mark.start(), mark.end()) for mark in MARK.finditer(stem)]
    shapes = [(pattern, pattern, stem)] if pattern != stem else []
    for start, _ in cuts:
        tail = re.sub(r"\d+", "#", stem[start:])
        shapes.append((f"*{tail}", tail, stem[:start]))
    if cuts:
        shapes.append((f"{stem[: cuts[0][1]]}*", stem[: cuts[0][0]], stem[cuts[0][1] :]))
    if parts and pattern == stem:
        shapes.append((f"*/{stem}", stem, parts[-1]))
    found += [Group(shown, word, False, own) for shown, word, own in shapes if any(map(str.isalpha, word))]
    return list(dict.fromkeys(found))


def _plain_groups(open_ones: list[Checked], there: list[Checked]) -> tuple[dict[Group, list[Checked]], Counter[Group]]:
    """The groups with several pictures that may be maps by their looks, and how many pictures each has in all."""
    found: dict[Group, list[Checked]] = defaultdict(list)
    for each in open_ones:
        if each.plain:
            for group in _groups(each):
                found[group].append(each)
    several = {group: members for group, members in found.items() if len(members) >= FEWEST}
    return several, Counter(group for each in there if several for group in _groups(each) if group in several)


def _alike(plain: dict[Group, list[Checked]], sizes: Counter[Group], look: Look) -> dict[Group, list[Checked]]:
    """The groups of which all but a few have a look, with those that have it."""
    found: dict[Group, list[Checked]] = {}
    for group, members in plain.items():
        if len(members) >= (1 - ODD) * sizes[group] and look.named(group):
            having = [each for each in members if look.of(each)]
            if len(having) >= max(FEWEST, (1 - ODD) * sizes[group]):
                found[group] = having
    return found


def _named(open_ones: list[Checked], there: list[Checked]) -> dict[Group, list[Checked]]:
    """Groups named like maps, most of whose pictures share their names with a picture that is not."""
    called = {
        id(each): [g for g in _groups(each) if _is_called_a_map(g)] if _may_be_called(each) else [] for each in there
    }
    sizes = Counter(group for groups in called.values() for group in groups)
    called = {which: [g for g in groups if sizes[g] < len(there)] for which, groups in called.items()}
    if not any(called.values()):
        return {}
    others = [each for each in there if not called[id(each)]]
    names = {own for each in others for own in (each.job.sample.files["image"].stem, *(g.own for g in _groups(each)))}
    found: dict[Group, list[Checked]] = defaultdict(list)
    shared: dict[Group, list[tuple[Path, str]]] = defaultdict(list)
    for each in open_ones:
        for group in called[id(each)]:
            found[group].append(each)
            if group.own in names:
                shared[group].append((each.job.sample.files["image"].parent, group.own))
    return {
        group: each
        for group, each in found.items()
        if len(shared[group]) * 2 >= len(each) and len(set(shared[group])) >= FEWEST
    }


def _may_be_called(each: Checked) -> bool:
    """Whether a part of its name may be called as maps are; a quick look at what most pictures are not."""
    name = each.job.sample.files["image"].as_posix().lower()
    return any(word in name for word in SURE_WORDS | NORMAL_WORDS | SHOWN_WORDS)


def _is_called_a_map(group: Group) -> bool:
    """Whether its name says so whatever it looks like."""
    words = words_of(group.word)
    ending = group.shown.startswith("*") and "#" not in group.word
    sure = SURE_WORDS | NORMAL_WORDS if ending else SURE_WORDS
    return bool(words & sure or (words & SHOWN_WORDS and words & PLAIN_WORDS))


def _refusals(groups: dict[Group, list[Checked]], why: str) -> dict[int, Finding]:
    """A finding on each picture that is in a suspect group, the first that it is in."""
    found: dict[int, Finding] = {}
    for group, members in groups.items():
        for each in members:
            reason = f"all of {group.shown} {why}: maps? {group.remedy}"
            found.setdefault(id(each), refused(each.job.sample.files["image"], reason))
    return found


def _note(kept: list[Checked], open_ones: list[Checked]) -> Iterator[Finding]:
    """A note on grey pictures among others in colour."""
    taken = {id(each) for each in kept if each.row}
    doubtful = [each.job.sample.files["image"] for each in open_ones if each.plain and id(each) in taken]
    if doubtful and any(_is_there(each) and not each.plain for each in kept):
        yield noted(
            f"{len(doubtful)} of {len(taken)} pictures are grey or of few colours, such as "
            f"{path_text(min(doubtful))}; if they are maps, say so by folders in maps.yaml, or {ENDING_REMEDY}"
        )

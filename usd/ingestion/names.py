"""What a file's name and folders say that it is: an image, a map of a kind, or a map that the project does not have.

Letters are compared in lower case and in one Unicode form; `a/depth/b.png`, `a/Depth/b.png`, `a/b.depth.png`,
`a/b_depth.png` and `a/depth_b.png` are all the depth map of `a/b`, `a/depth1.png` is beside `a/img1.png`, and
`a/b/depth.png` beside `a/b/rgb.png`.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from usd.data.record import SPLITS
from usd.ingestion.words import (
    FOREIGN,
    LEFT_OUT,
    SPLIT,
    SPLIT_WORDS,
    USUAL,
    WORDS,
    Words,
    folder_word,
    one_form,
    spelt,
)
from usd.tasks import MAPS

_WORD = "|".join(word.replace("_", "[._ -]") for word in sorted(WORDS, key=len, reverse=True))
ENDING = re.compile(rf"(?P<base>.+?)(?P<mark>[._ -]|(?<=\d))(?P<word>{_WORD})")  # no mark: only beside a digit
BEGINNING = re.compile(rf"(?P<word>{_WORD})(?P<mark>[._ -]|(?<!\d)(?=\d))(?P<base>.+)")  # image_20 is not an image_2


@dataclass(frozen=True)
class Place:
    """What a file claims to be."""

    name: str  # of the sample
    field: str  # image, a map, CONDITION or FOREIGN
    certain: bool = True  # False: only if an image of this name is there, else an image of its whole name
    whole: str = ""  # that name

    def as_image(self) -> "Place":
        """What it is if it is an image of its whole name."""
        return Place(self.whole, "image")


def place_of(file: PurePath, words: Words = USUAL, images: Set[str] = frozenset(), inner: bool = False) -> Place:
    """The sample and the field of a file.

    In a folder of maps, a name that is an image's counts as a whole: masks/normal_0.png beside images/normal_0.png.

    Args:
        file: its path in the source.
        words: the source's own for its folders.
        images: names in lower case.
        inner: whether the innermost folder of maps alone is no part of the name, not those around it that say the same.
    """
    folders = [one_form(part) for part in file.parent.parts]
    stem, field = one_form(file.stem), None
    for number, part in reversed(list(enumerate(folders))):
        if field := folder_word(part, words):
            split = words.splits.get(spelt(part))
            folders[number if inner else _first(folders, number, words) : number + 1] = [split] if split else []
            break
    whole = "/".join((*folders, stem))
    word, base, sure, first = _parts(stem)
    said = None if word is None or (not base and field) else WORDS[word]
    told = said == "image" or (first and whole.lower() in images)
    if said is None or field == LEFT_OUT or (field not in (None, "image") and told):
        return Place(whole, field or "image", whole=whole)
    if first and (field == "image" or any(words.fields.get(spelt(part), "") is None for part in folders)):
        sure = False  # images/normal_0.png may be a picture
    name = "/".join((*folders, base) if base else folders) or "."
    return Place(name, said, said != "image" and (sure or field not in (None, "image")), whole)


def _first(folders: list[str], number: int, words: Words) -> int:
    """Where the folders begin that say the same as that of the number: `masks/masks`, or `annotations/trimaps`."""
    field = folder_word(folders[number], words)
    while number:
        above = folder_word(folders[number - 1], words)
        if (field in ("image", LEFT_OUT) or above != field) and (field != FOREIGN or above not in MAPS):
            break
        number -= 1
    return number


def spellings(names: Iterable[str]) -> dict[str, str]:
    """The names by their lower case, without those that differ in nothing else."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(name.lower(), set()).add(name)
    return {lower: next(iter(each)) for lower, each in found.items() if len(each) == 1}


def places_of(files: Collection[Path], words: Words, listed: Set[Path]) -> dict[Path, Place]:
    """The place of each file; a table lists some as images.

    Names are in the letter case of their images, unless images differ in that alone. A map without an image of its name
    is one of the image that is called so without some folders, on either side.
    """
    found = {file: place_of(file, words) for file in files}
    images = {name for each in found.values() if each.field == "image" for name in (each.name, each.whole)}
    images |= {found[file].whole for file in listed & found.keys()}
    images |= {each.whole for each in found.values() if not each.certain and each.name not in images}
    known = spellings(images)
    lower = {name.lower() for name in images}
    named = [(file, each.whole) for file, each in found.items() if each.field == "image"]
    ended, bare = with_endings(named), _bare(named, words)

    def with_image(each: Place) -> Place:
        name = each.name
        if each.field != "image" and name.lower() not in lower:  # what may be a picture itself is no map of a bare name
            name = ended.get(name.lower()) or (bare.get(name.lower()) if each.certain else None) or name
        return replace(each, name=known.get(name.lower(), name), whole=known.get(each.whole.lower(), each.whole))

    found = {file: place_of(file, words, lower, inner=True) for file in files}
    left = [file for file, each in found.items() if each.field != "image" and each.name.lower() not in lower]
    found |= {file: place_of(file, words, lower) for file in left}
    return {file: with_image(each) for file, each in found.items()}


def _bare(images: Iterable[tuple[Path, str]], words: Words) -> dict[str, str]:
    """Names of images by these without folders such as those of `images/images/0.jpg` or `depth/rgb/0.jpg`.

    In lower case, with and without their files' endings, and only where one image is called so.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for file, name in images:
        *folders, own = name.split("/")
        bare = "/".join([*(part for part in folders if not folder_word(part, words)), own])
        for each in (bare, f"{bare}{file.suffix}"):
            found[each.lower()].add(name)
    return {bare: next(iter(names)) for bare, names in found.items() if len(names) == 1}


def with_endings(images: Iterable[tuple[Path, str]]) -> dict[str, str]:
    """Names of images by these and their files' endings in lower case: `masks/0.jpg.png` may be the map of `0.jpg`."""
    found = {f"{name}{file.suffix}": name for file, name in images}
    return {lower: found[whole] for lower, whole in spellings(found).items()}


def _parts(stem: str) -> tuple[str | None, str, bool, bool]:
    """The word in a name, what it is the map or image of, whether that is certain, and whether the word is first.

    `a_depth` and `depth_a` are the depth map of `a`, and `depth`, which is certain, is that of its folder; `depth1` may
    be that of `1`.
    """
    lower = stem.lower()
    if found := ENDING.fullmatch(lower):
        word = spelt(found["word"])
        return word, stem[: -len(found["mark"] + found["word"])], word in MAPS and bool(found["mark"]), False
    if found := BEGINNING.fullmatch(lower):
        word = spelt(found["word"])  # "normal_people" and "normal1" may be pictures, "normal_0001" is not
        sure = word in MAPS and bool(found["mark"]) and found["base"][0].isdigit()
        return word, stem[len(found["word"] + found["mark"]) :], sure, True
    word = spelt(stem)
    return (word, "", word in MAPS, False) if word in WORDS else (None, "", False, False)


def split_of(file: PurePath) -> str | None:
    """The split that a folder of the file is named for, such as `val`, `val2017`, `val_images` or `val_set`."""
    for part in file.parent.parts:
        if found := SPLIT.match(part):
            rest = spelt(part[found.end() :])
            if not rest or rest.isdigit() or rest in ("set", "data", "split") or WORDS.get(rest) == "image":
                return SPLIT_WORDS[found[1].lower()]
    return None


def own_splits(files: Set[PurePath]) -> dict[PurePath, str]:
    """The split of each file by its folders, if these name two splits or more: one alone may be about trains."""
    found = {file: split for file in files if (split := split_of(file)) is not None}
    return found if len(set(found.values()) & set(SPLITS)) >= 2 else {}


def unread_splits(files: Set[PurePath]) -> list[str]:
    """Folders that begin with the words of splits, two or more, but are not read as these: `trainA` and `testA`."""
    found: dict[str, str] = {}
    for part in sorted({part for file in files if split_of(file) is None for part in file.parent.parts}):
        word = SPLIT.match(part)
        if word and not part[word.end(1) :][:1].islower():  # "trains" and "valley" are not splits
            found.setdefault(SPLIT_WORDS[word[1].lower()], part)
    read = {split for file in files if (split := split_of(file)) is not None}
    return list(found.values()) if len(found.keys() | read) > 1 else []

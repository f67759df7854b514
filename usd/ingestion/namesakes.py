"""Two folders with pictures of the same names, such as `A/` and `B/`: one may hold maps of the other's pictures."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from itertools import combinations
from pathlib import Path

from usd.errors import UsdError
from usd.files import path_text
from usd.ingestion.words import SPLIT, WORDS, Words, as_key, one_form, spelt

FEWEST = 3  # names that two folders share; fewer may be chance
JPEG = {".jpg", ".jpeg"}

Slot = tuple[int, tuple[str, ...]]  # a place in a path, and the other parts of that path


def check_namesakes(samples: Iterable[dict[str, Path]], words: Words, listed: Collection[Path]) -> None:
    """Refuse a source where two parallel folders hold pictures of the same names and nothing says what they are.

    Parallel are folders whose paths differ in one part, and not by the name of a split: `A/train` and `B/train`,
    `trainA` and `trainB`, or a folder and one inside it. Three or more, such as classes or films, are let through.

    Args:
        samples: field → file of each; those with a map are known to be images.
        words: the source's own for folders.
        listed: pictures that a table names.

    Raises:
        UsdError: there are such folders; it says how to declare them.
    """
    names: dict[Path, set[str]] = defaultdict(set)
    formats: dict[Path, set[str]] = defaultdict(set)
    mapped: set[Path] = set()
    for fields in samples:
        image = fields["image"]
        if image not in listed:
            names[image.parent].add(one_form(image.stem))
            formats[image.parent].add(image.suffix.lower())
            mapped |= {image.parent} if len(fields) > 1 else set()
    slots: dict[Slot, list[Path]] = defaultdict(list)
    for folder in sorted(names):
        for slot in _slots(folder):
            slots[slot].append(folder)
    for (place, _), folders in slots.items():
        if len({_kind(_part(folder, place)) for folder in folders}) != 2:
            continue
        for one, other in combinations(folders, 2):
            parts = [_part(one, place), _part(other, place)]
            known = {one, other} <= mapped or {spelt(part) for part in parts if part} <= words.fields.keys()
            shared = names[one] & names[other]
            enough = max(FEWEST, min(len(names[one]), len(names[other])) / 2)
            if _kind(parts[0]) != _kind(parts[1]) and not known and len(shared) >= enough:
                raise UsdError(_question([one, other], parts, [formats[each] <= JPEG for each in (one, other)]))


def _slots(folder: Path) -> Iterator[Slot]:
    """The places of a path in which another may differ; the last one is that of a folder inside it."""
    for place in range(len(folder.parts) + 1):
        yield place, folder.parts[:place] + folder.parts[place + 1 :]


def _part(folder: Path, place: int) -> str:
    return folder.parts[place] if place < len(folder.parts) else ""


def _kind(part: str) -> str:
    """A folder's name without the split that it begins with: `A` of trainA and testA."""
    return SPLIT.sub("", part, count=1) if SPLIT.match(part) else part


def _question(folders: list[Path], parts: list[str], photographs: list[bool]) -> str:
    """What the message says, with a declaration to complete, in which the pictures are named if there are signs.

    Args:
        folders: the two.
        parts: what their paths differ in.
        photographs: whether all files of each are JPEG.
    """
    shown = " and ".join(f"{path_text(each)}/" for each in folders)
    called = [WORDS.get(spelt(part)) == "image" for part in parts]
    signs = called if sum(called) == 1 else photographs if sum(photographs) == 1 else [False, False]
    fields = {as_key(part): "image" if sign else "…" for part, sign in zip(parts, signs, strict=True) if part}
    mine = ", ".join(f"{part}: {field}" for part, field in fields.items())
    return (
        f"{shown}: pictures of the same names, and nothing says whether the ones are maps of the others; say with "
        f"--maps what they are, `folders: {{{mine}}}`: image (both may be), depth, hed, seg, normal, or none to leave "
        "one out"
    )

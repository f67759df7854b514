"""What a file's name and folders say that it is: an image, a map of a kind, or a map that the project does not have.

Letters are compared in lower case and in one Unicode form; `a/depth/b.png`, `a/Depth/b.png`, `a/b.depth.png`,
`a/b_depth.png` and `a/depth_b.png` are all the depth map of `a/b`, `a/depth1.png` is beside `a/img1.png`, and
`a/b/depth.png` beside `a/b/rgb.png`.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from types import MappingProxyType
from unicodedata import normalize

from usd.data.record import SPLITS
from usd.tasks import MAPS

CONDITION = "condition"  # a map of a kind that the layout leaves open
FOREIGN = "foreign"  # a map of a kind that the project does not have
LEFT_OUT = "none"  # a folder that is declared to be of no use
Words = Mapping[str, str | None]  # of a source, beside WORDS or instead: folder → field; None is not a word
WORDS: dict[str, str] = {  # of a folder, or after the last separator of a name → field
    **{name: name for name in MAPS},
    **dict.fromkeys(("depths", "depth_map", "depth_maps", "depthmap", "depthmaps", "disparity", "disp"), "depth"),
    **dict.fromkeys(("disp_occ_0", "disp_noc_0", "disp_occ", "disp_noc", "inverse_depth", "inv_depth"), "depth"),
    **dict.fromkeys(("depth_anything", "depth_gt", "gt_depth", "depth_png", "depth_raw", "depth_vis"), "depth"),
    **dict.fromkeys(("depth_color", "depth_colored", "depth_image", "depth_images", "midas", "zoe_depth"), "depth"),
    **dict.fromkeys(("segs", "segmentation", "segmentations", "segmentationclass", "semantic", "mask", "masks"), "seg"),
    **dict.fromkeys(("label", "labels", "annotations", "gtfine_labelids", "gtfine_labeltrainids", "labelids"), "seg"),
    **dict.fromkeys(("gtcoarse_labelids", "gtcoarse_labeltrainids", "gtcoarse", "labeltrainids", "gtfine"), "seg"),
    **dict.fromkeys(("stuffthingmaps", "seg_map", "seg_maps"), "seg"),
    **dict.fromkeys(("segmentation_mask", "segmentation_masks", "semantic_segmentation", "semantic_mask"), "seg"),
    **dict.fromkeys(("semantic_masks", "segmentation_map", "segmentation_maps", "seg_mask", "seg_masks"), "seg"),
    **dict.fromkeys(("gt_mask", "gt_masks", "label_map", "label_maps", "label_image", "semantics"), "seg"),
    **dict.fromkeys(("edge", "edges", "soft_edges", "softedge", "softedges", "hed_edges"), "hed"),
    **dict.fromkeys(("normals", "normal_map", "normal_maps"), "normal"),
    **dict.fromkeys(
        ("condition", "conditions", "conditioning", "conditioning_image", "conditioning_images"), CONDITION
    ),
    **dict.fromkeys(("pose", "poses", "openpose", "lineart", "scribble", "scribbles", "mlsd", "sketch"), FOREIGN),
    **dict.fromkeys(("sketches", "alpha", "matte", "mattes", "trimap", "instance", "instances", "panoptic"), FOREIGN),
    **dict.fromkeys(("flow", "confidence", "gtfine_color", "gtfine_instanceids", "instanceids"), FOREIGN),
    **dict.fromkeys(("gtcoarse_color", "gtcoarse_instanceids"), FOREIGN),
    **dict.fromkeys(("segmentationobject", "saliency", "boxes", "thumbnails"), FOREIGN),
    **dict.fromkeys(("image", "images", "img", "imgs", "rgb", "jpegimages", "leftimg8bit", "photos"), "image"),
    **dict.fromkeys(("color", "colors", "colour", "colours"), "image"),
    **dict.fromkeys(("pictures", "image_2", "image_02"), "image"),
}
PAIRED = {"source": CONDITION, "target": "image"}  # ControlNet's folders, where both are there
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SPLIT = re.compile(rf"({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})[ _.-]?", re.IGNORECASE)
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


def one_form(text: str) -> str:
    """The text in one Unicode form: NFC."""
    return normalize("NFC", text)


def one_path(text: str) -> str:
    """A path in one form: with slashes between folders, without `./`."""
    return posixpath.normpath(one_form(text).replace("\\", "/"))


def folder_words(files: Set[PurePath], declared: Mapping[str, str]) -> Words:
    """What this source's folders are called, beside WORDS: ControlNet's pair, if it is there, and the declared ones.

    Where no declared folder holds maps, `image` is not a word: pictures of the same name are different pictures.
    """
    parts = {part.lower() for file in files for part in file.parent.parts}
    found: dict[str, str | None] = {**PAIRED} if PAIRED.keys() <= parts else {}
    alone = set(declared.values()) <= {"image", LEFT_OUT}
    return found | {spelt(name): None if alone and field == "image" else field for name, field in declared.items()}


def folder_word(part: str, words: Words) -> str | None:
    """The field that a folder's name stands for."""
    word = spelt(part)
    return words[word] if word in words else WORDS.get(word)


def map_folder(file: PurePath, words: Words) -> str | None:
    """The folder that says that a file is a map."""
    told = (part for part in reversed(file.parent.parts) if folder_word(part, words) not in (None, "image"))
    return next(told, None)


def place_of(file: PurePath, words: Words = MappingProxyType({}), images: Set[str] = frozenset()) -> Place:
    """The sample and the field of a file; `words` are the source's own for its folders, `images` names in lower case.

    In a folder of maps, a name that is an image's counts as a whole: masks/normal_0.png beside images/normal_0.png.
    """
    folders = [one_form(part) for part in file.parent.parts]
    stem, field = one_form(file.stem), None
    for number, part in reversed(list(enumerate(folders))):
        if field := folder_word(part, words):
            del folders[number]
            break
    whole = "/".join((*folders, stem))
    word, base, sure, first = _parts(stem)
    said = None if word is None or (not base and field) else WORDS[word]
    told = said == "image" or (first and whole.lower() in images)
    if said is None or field == LEFT_OUT or (field not in (None, "image") and told):
        return Place(whole, field or "image", whole=whole)
    if first and (field == "image" or any(words.get(spelt(part), "") is None for part in folders)):
        sure = False  # images/normal_0.png may be a picture
    name = "/".join((*folders, base) if base else folders) or "."
    return Place(name, said, said != "image" and (sure or field not in (None, "image")), whole)


def spellings(names: Iterable[str]) -> dict[str, str]:
    """The names by their lower case, without those that differ in nothing else."""
    found: dict[str, set[str]] = {}
    for name in names:
        found.setdefault(name.lower(), set()).add(name)
    return {lower: next(iter(each)) for lower, each in found.items() if len(each) == 1}


def places_of(files: Collection[Path], words: Words, listed: Set[Path]) -> dict[Path, Place]:
    """The place of each file; a table lists some as images.

    Names are in the letter case of their images, unless images differ in that alone.
    """
    found = {file: place_of(file, words) for file in files}
    images = {name for each in found.values() if each.field == "image" for name in (each.name, each.whole)}
    images |= {found[file].whole for file in listed & found.keys()}
    images |= {each.whole for each in found.values() if not each.certain and each.name not in images}
    known = spellings(images)
    lower = {name.lower() for name in images}

    def cased(name: str) -> str:
        return known.get(name.lower(), name)

    found = {file: place_of(file, words, lower) for file in files}
    return {file: replace(each, name=cased(each.name), whole=cased(each.whole)) for file, each in found.items()}


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


def spelt(text: str) -> str:
    """A word as the keys of WORDS are spelt."""
    return re.sub("[ .-]", "_", one_form(text).lower())


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

"""What a file's name and folders say that it is: an image, a map of a kind, or a map that the project does not have.

Letters are compared in lower case and in one Unicode form; `a/depth/b.png`, `a/Depth/b.png`, `a/b.depth.png` and
`a/b_depth.png` are all the depth map of `a/b`.
"""

import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import PurePath
from unicodedata import normalize

from usd.data.record import SPLITS
from usd.tasks import MAPS

CONDITION = "condition"  # a map of a kind that the layout leaves open
FOREIGN = "foreign"  # a map of a kind that the project does not have
WORDS: dict[str, str] = {  # of a folder, or after the last separator of a name → field
    **{name: name for name in MAPS},
    **dict.fromkeys(("depths", "depth_map", "depth_maps", "depthmap", "depthmaps", "disparity", "disp"), "depth"),
    **dict.fromkeys(("disp_occ_0", "disp_noc_0", "disp_occ", "disp_noc", "inverse_depth", "inv_depth"), "depth"),
    **dict.fromkeys(("segs", "segmentation", "segmentations", "segmentationclass", "semantic", "mask", "masks"), "seg"),
    **dict.fromkeys(("label", "labels", "annotations", "gtfine_labelids", "gtfine_labeltrainids", "labelids"), "seg"),
    **dict.fromkeys(("labeltrainids", "gtfine", "stuffthingmaps", "seg_map", "seg_maps"), "seg"),
    **dict.fromkeys(("edge", "edges", "soft_edges", "softedge", "softedges", "hed_edges"), "hed"),
    **dict.fromkeys(("normals", "normal_map", "normal_maps"), "normal"),
    **dict.fromkeys(
        ("condition", "conditions", "conditioning", "conditioning_image", "conditioning_images"), CONDITION
    ),
    **dict.fromkeys(("pose", "poses", "openpose", "lineart", "scribble", "scribbles", "mlsd", "sketch"), FOREIGN),
    **dict.fromkeys(("sketches", "alpha", "matte", "mattes", "trimap", "instance", "instances", "panoptic"), FOREIGN),
    **dict.fromkeys(("flow", "confidence", "gtfine_color", "gtfine_instanceids", "instanceids"), FOREIGN),
    **dict.fromkeys(("segmentationobject", "saliency", "boxes", "thumbnails"), FOREIGN),
    **dict.fromkeys(("image", "images", "img", "imgs", "rgb", "jpegimages", "leftimg8bit", "photos"), "image"),
    **dict.fromkeys(("pictures", "image_2", "image_02"), "image"),
}
PAIRED = {"source": CONDITION, "target": "image"}  # ControlNet's folders, where both are there
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
ENDING = re.compile(
    rf"(?P<base>.+?)(?P<mark>[._ -])(?P<word>{'|'.join(sorted(map(re.escape, WORDS), key=len, reverse=True))})"
)


@dataclass(frozen=True)
class Place:
    """What a file claims to be."""

    name: str  # of the sample
    field: str  # image, a map, CONDITION or FOREIGN
    certain: bool = True  # False: only if an image of this name is there, else an image of its whole name
    whole: str = ""  # that name


def one_form(text: str) -> str:
    """The text in one Unicode form: NFC."""
    return normalize("NFC", text)


def folder_word(part: str, paired: bool) -> str | None:
    """The field that a folder's name stands for."""
    word = one_form(part).lower()
    return WORDS.get(word) or (PAIRED.get(word) if paired else None)


def place_of(file: PurePath, paired: bool = False) -> Place:
    """The sample and the field of a file; `paired`: folders `source` and `target` are a condition and its image."""
    folders = [one_form(part) for part in file.parent.parts]
    stem, field = one_form(file.stem), None
    for number, part in reversed(list(enumerate(folders))):
        if field := folder_word(part, paired):
            del folders[number]
            break
    whole = "/".join((*folders, stem))
    found = ENDING.fullmatch(stem.lower())
    if found is None:
        return Place(whole, field or "image", whole=whole)
    name, ending = "/".join((*folders, stem[: found.end("base")])), WORDS[found["word"]]
    if field not in (None, "image") and ending == "image":
        return Place(whole, field or "image", whole=whole)
    certain = ending == "image" or found["word"] in MAPS or field not in (None, "image")
    return Place(name, ending, certain and ending != "image", whole)


def split_of(file: PurePath) -> str | None:
    """The split that a folder of the file is named for."""
    found = [SPLIT_WORDS[part.lower()] for part in file.parent.parts if part.lower() in SPLIT_WORDS]
    return found[0] if found else None


def own_splits(files: Set[PurePath]) -> dict[PurePath, str]:
    """The split of each file by its folders, if these name two splits or more: one alone may be about trains."""
    found = {file: split for file in files if (split := split_of(file)) is not None}
    return found if len(set(found.values()) & set(SPLITS)) >= 2 else {}

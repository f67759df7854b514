"""The words that folders and file names have for images, for maps of a kind and for splits."""

import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path, PurePath
from unicodedata import normalize

from usd.files import path_text
from usd.tasks import MAPS

CONDITION = "condition"  # a map of a kind that the layout leaves open
FOREIGN = "foreign"  # a map of a kind that the project does not have
LEFT_OUT = "none"  # a folder that is declared to be of no use
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
    **dict.fromkeys(
        ("sketches", "alpha", "matte", "mattes", "trimap", "trimaps", "instance", "instances", "panoptic"), FOREIGN
    ),
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
SPLIT_INSIDE = re.compile(rf"(?<=_)({'|'.join(sorted(SPLIT_WORDS, key=len, reverse=True))})(?![a-z])")
PLAIN = re.compile(r"[^\W\d][\w.-]*( [\w.-]+)*")  # what YAML reads as this text, but for NOT_TEXT
NOT_TEXT = ("true", "false", "null")


@dataclass(frozen=True)
class Words:
    """What the folders of a source are called, beside WORDS or instead."""

    fields: Mapping[str, str | None]  # folder → field; None is not a word
    splits: Mapping[str, str]  # folder → the split in its name that is part of its files' names


USUAL = Words({}, {})


def one_form(text: str) -> str:
    """The text in one Unicode form: NFC."""
    return normalize("NFC", text)


def one_path(text: str) -> str:
    """A path in one form: with slashes between folders, without `./`."""
    return posixpath.normpath(one_form(text).replace("\\", "/"))


def spelt(text: str) -> str:
    """A word as the keys of WORDS are spelt."""
    return re.sub("[ .-]", "_", one_form(text).lower())


def as_key(folder: str) -> str:
    """A folder's name as a key of YAML, in quotes where it would be read as something else: `"01"`, `"no: 1"`."""
    text = path_text(Path(folder))
    if PLAIN.fullmatch(text) and text.lower() not in NOT_TEXT:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)


def folder_words(files: Set[PurePath], declared: Mapping[str, str]) -> Words:
    """What this source's folders are called, beside WORDS: ControlNet's pair, if it is there, and the declared ones.

    Where no declared folder holds maps, `image` is not a word: pictures of the same name are different pictures.
    """
    parts = {part.lower() for file in files for part in file.parent.parts}
    fields: dict[str, str | None] = {**PAIRED} if PAIRED.keys() <= parts else {}
    alone = set(declared.values()) <= {"image", LEFT_OUT}
    fields |= {spelt(name): None if alone and field == "image" else field for name, field in declared.items()}
    return Words(fields, _splits(files, fields))


def _splits(files: Set[PurePath], fields: Mapping[str, str | None]) -> dict[str, str]:
    """The splits in the names of declared folders, if all have one, and folders of pictures share names across these.

    Then train/0.png and test/0.png are two images, and trainannot/0.png is a map of the first.
    """
    splits = {folder: _split_in(folder) or "" for folder, field in fields.items() if field != LEFT_OUT}
    if not splits or not all(splits.values()):
        return {}
    words, named = Words(fields, {}), defaultdict[tuple[str, ...], set[str]](set)
    for file in files:
        parts = [spelt(part) for part in file.parent.parts]
        told = [place for place, part in enumerate(parts) if folder_word(part, words)]
        if told and fields.get(parts[told[-1]]) == "image":
            folder = parts.pop(told[-1])
            named[*parts, one_form(file.stem)].add(splits[folder])
    return splits if any(len(each) > 1 for each in named.values()) else {}


def _split_in(folder: str) -> str | None:
    found = SPLIT.match(folder) or SPLIT_INSIDE.search(folder)
    return SPLIT_WORDS[found[1]] if found else None


def folder_word(part: str, words: Words) -> str | None:
    """The field that a folder's name stands for."""
    word = spelt(part)
    return words.fields[word] if word in words.fields else WORDS.get(word)


def map_folder(file: PurePath, words: Words) -> str | None:
    """The folder that says that a file is a map."""
    told = (part for part in reversed(file.parent.parts) if folder_word(part, words) not in (None, "image"))
    return next(told, None)

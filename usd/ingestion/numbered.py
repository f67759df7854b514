"""Numbered maps of a picture, such as `x_mask_1.png` beside `x.png` and `x_mask.png`: refused, with that picture."""

import re
from collections.abc import Mapping

from usd.files import path_text
from usd.ingestion.checking import Checked
from usd.ingestion.findings import TOGETHER, Finding, refused
from usd.ingestion.maplike import undeclared
from usd.ingestion.words import WORDS, one_form, spelt

_WORD = "|".join(word.replace("_", "[._ -]") for word in sorted(WORDS, key=len, reverse=True))
NUMBERED = re.compile(rf"(?P<base>.+?)[._ -](?P<word>{_WORD})[._ -]?\(?\d+\)?")
GREY = ("depth", "hed", "seg")  # kinds of maps that may be grey


def without_numbered(checked: list[Checked], folders: Mapping[str, str]) -> tuple[list[Checked], list[Finding]]:
    """The samples without those that are named and look like a numbered map of another, and the findings on these.

    They have few colours beside a picture of many, or are grey beside one in colour. If the picture has a map of that
    kind, it is refused, too: it would be taken without all of its maps. Beside a picture that is refused itself, whose
    looks are not known, they stay.

    Args:
        checked: all samples.
        folders: what the source's own are declared to hold.
    """
    pictures = {(each.job.sample.files["image"].parent, _name(each)): each for each in checked}
    findings: dict[int, list[Finding]] = {}
    for each in checked:
        image = each.job.sample.files["image"]
        found = NUMBERED.fullmatch(_name(each))
        whole = pictures.get((image.parent, found["base"])) if found else None
        if found is None or whole is None or not (each.row and whole.row) or not undeclared(each, folders):
            continue
        kind = WORDS[spelt(found["word"])]
        if kind != "image" and ((each.few and not whole.few) or (kind in GREY and each.plain and not whole.plain)):
            findings[id(each)] = [refused(image, _why(whole, kind if kind in GREY else "seg"))]
            if kind in whole.job.sample.files:
                together = f"{TOGETHER}: {path_text(image)} is refused"
                findings[id(whole)] = [refused(file, together) for file in whole.job.sample.files.values()]
    kept = [each for each in checked if id(each) not in findings]
    return kept, [finding for some in findings.values() for finding in some]


def _why(whole: Checked, kind: str) -> str:
    shown = path_text(whole.job.sample.files["image"])
    return (
        f"named like a map of {shown}: if it is one, join it with the others of its kind in one file, such as "
        f"*.{kind}.png, or move it out; if not, rename it or give it a caption"
    )


def _name(each: Checked) -> str:
    return one_form(each.job.sample.files["image"].stem).lower()

"""Where your own data come from: which files of a folder make a sample, in either layout. No picture is opened here.

folder: `name.jpg`, its maps `name.depth.png`, `name_depth.png` or `depth/name.png` (`usd.ingestion.words` has all
words), its caption `name.txt` or a row of a table (`usd.ingestion.tables`); else the file name makes the caption.
Folders `train`, `val` and `test` are kept as splits.

instruct-pix2pix: `<prompt>/<seed>_0.jpg` and `<seed>_1.jpg`, their maps `<seed>_0_depth.png`, the captions in
`<prompt>/prompt.json`; `seeds.json`, if it is there, lists what belongs to the dataset.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath

from usd.config.values import Layout
from usd.errors import UsdError
from usd.files import path_text
from usd.ingestion.captions import from_name, from_prompt, from_seeds, one_line
from usd.ingestion.findings import Finding, noted, refused
from usd.ingestion.meanings import Maps
from usd.ingestion.names import Place, own_splits, place_of, places_of, unread_splits
from usd.ingestion.namesakes import check_namesakes
from usd.ingestion.pictures import SUFFIXES
from usd.ingestion.raw import ARRAY, UNREAD
from usd.ingestion.scan import Claims, Sample, Scan, assemble, read_text, unusable, walk
from usd.ingestion.splits import BY_HAND
from usd.ingestion.tables import Entry, read_tables
from usd.ingestion.texts import add_rows, text_files
from usd.ingestion.words import CONDITION, LEFT_OUT, Words, folder_words, spelt
from usd.tasks import MAPS

PAIR = re.compile(r"(?P<seed>.+)_(?P<side>[01])(?:_(?P<map>[a-z]+))?")
CONDITION_REMEDY = "say with --maps which map it is: `condition: depth`, hed, seg or normal; or none, to leave it out"


def folder(root: Path, maps: Maps) -> Scan:
    """The samples of a folder of pictures and, if there are any, maps, captions and splits.

    Raises:
        UsdError: it cannot be known what a folder or a column holds, and `maps` does not say it.
    """
    scan = Scan()
    files = walk(root, scan)
    words = _words(files, maps)
    entries = read_tables(root, files, scan)
    claims, names = _claims(files, entries, words, scan)
    samples = assemble(_settle(claims, maps.condition, scan), scan, words)
    check_namesakes(samples.values(), words, {entry.image for entry in entries})
    captions = text_files(root, files, samples, words, scan)
    add_rows(captions, entries, names, samples, files, scan)
    images = {fields["image"] for fields in samples.values()}
    splits, listed = own_splits(images), _splits(root, entries, names)
    if unread := unread_splits(images):
        shown = " and ".join(f"{path_text(Path(part))}/" for part in unread)
        scan.findings.append(noted(f"{shown}: not read as splits; if they are, {BY_HAND}"))
    for name, fields in samples.items():
        caption = captions.get(name) or from_name(name.rpartition("/")[2])
        split = listed.get(name) or splits.get(fields["image"])
        scan.samples.append(Sample(fields, caption, name, split, name in captions))
    scan.findings += _unmet(scan.samples, maps)
    return scan


def _splits(root: Path, entries: list[Entry], names: dict[Path, str]) -> dict[str, str]:
    """Name → split of the samples to which a table gives one.

    Raises:
        UsdError: a sample has two.
    """
    found: dict[str, str] = {}
    for each in entries:
        if each.row.split and found.setdefault(names[each.image], each.row.split) != each.row.split:
            raise UsdError(f"{root / each.table}: {one_line(each.row.image)} is in two splits; keep one")
    return found


def _words(files: list[Path], maps: Maps) -> Words:
    """What this source's folders are called, beside the usual."""
    there = {spelt(part) for file in files for part in file.parent.parts}
    if strange := [name for name in maps.folders if spelt(name) not in there]:
        remedy = f"; it takes one folder's own name, such as {PurePath(strange[0]).name}" if "/" in strange[0] else ""
        raise UsdError(f"--maps: folders.{strange[0]}: there is no folder of this name with files in it{remedy}")
    return folder_words(set(files), maps.folders)


def _claims(files: list[Path], entries: list[Entry], words: Words, scan: Scan) -> tuple[Claims, dict[Path, str]]:
    """Which file claims to be what of which sample, and the sample that each row is about."""
    known = set(files)
    pictures = [file for file in files if file.suffix.lower() in (*SUFFIXES, ARRAY, *UNREAD)]
    pictures += [file for entry in entries for _, file in entry.maps if file not in known]
    own = places_of(pictures, words, {entry.image for entry in entries})
    names = _names(entries, own, words)
    # what a table says, whatever the files are called; a file may be the map of several images
    own |= {entry.image: Place(names[entry.image], "image") for entry in entries if entry.image in own}
    listed = [(file, Place(names[each.image], field)) for each in entries for field, file in each.maps]
    maps = dict(listed)
    found = dict.fromkeys([*((file, place) for file, place in own.items() if file not in maps), *listed])
    claims: Claims = {}
    for file, place in _decided(list(found)):
        if place.field == "image" and file.suffix.lower() not in SUFFIXES:
            scan.findings.append(unusable(file))
        else:
            claims.setdefault(place.name, {}).setdefault(place.field, []).append(file)
    return claims, names


def _decided(found: list[tuple[Path, Place]]) -> list[tuple[Path, Place]]:
    """Each place that its name leaves open as what the others make of it.

    What may be an image with a word after its name is one of its whole name where nothing else has the shorter name, or
    where that is surely another image; what may be a map is an image where there is none that it is a map of.
    """
    places = [place for _, place in found]
    sure = {place.name for place in places if place.certain and place.field == "image"}
    mapped = {place.name for place in places if place.field != "image"}
    for number, place in enumerate(places):
        if not place.certain and place.field == "image" and (place.name in sure or place.name not in mapped):
            places[number] = place.as_image()
    images = {place.name for place in places if place.field == "image"}
    maps = [number for number, place in enumerate(places) if not place.certain and place.field != "image"]
    for number in sorted(maps, key=lambda number: len(places[number].name)):  # edge_a before edge_a_mask
        if places[number].name not in images:
            places[number] = places[number].as_image()
            images.add(places[number].name)
    return [(file, place) for (file, _), place in zip(found, places, strict=True)]


def _names(entries: list[Entry], found: dict[Path, Place], words: Words) -> dict[Path, str]:
    """The sample that each image of a table is of: its whole name, unless a map beside it says that there is less."""
    listed = {file for entry in entries for file in (entry.image, *(file for _, file in entry.maps))}
    mapped = {place.name for file, place in found.items() if place.field != "image" and file not in listed}
    places = {entry.image: found.get(entry.image) or place_of(entry.image, words) for entry in entries}
    sure = {file for file, place in places.items() if place.field == "image" and place.certain}
    return {file: each.name if file in sure or each.name in mapped else each.whole for file, each in places.items()}


def _settle(claims: Claims, condition: str | None, scan: Scan) -> Claims:
    """The claims with the map that the layout leaves open named."""
    if condition and not any(CONDITION in fields for fields in claims.values()):
        scan.findings.append(noted("maps.yaml declares condition, but there is no source/ and no conditioning_image"))
    for fields in claims.values():
        left = fields.pop(LEFT_OUT, [])
        scan.findings += [Finding(path_text(file), "accepted", "left out: its folder is none") for file in left]
        if files := fields.pop(CONDITION, None):
            if condition is None:
                raise UsdError(f"{path_text(files[0])}: the layout does not say which map this is; {CONDITION_REMEDY}")
            if condition == "none":
                scan.findings += [Finding(path_text(file), "accepted", "left out: condition: none") for file in files]
            else:
                fields.setdefault(condition, []).extend(files)
    return {name: fields for name, fields in claims.items() if fields}


def instruct_pix2pix(root: Path, maps: Maps) -> Scan:
    """The samples of a dataset in InstructPix2Pix's layout; those of one prompt, before and after, are one group.

    Raises:
        UsdError: `maps` declares what this layout does not have, or seeds.json cannot be read.
    """
    if strange := [name for name in ("condition", "folders") if getattr(maps, name)]:
        raise UsdError(f"--maps: {strange[0]}: only layout folder has it; leave it out, or say --layout folder")
    scan = Scan()
    claims: Claims = {}
    prompts: dict[str, dict[str, str]] = {}
    listed: set[str] | None = None
    for file in walk(root, scan):
        pair = PAIR.fullmatch(file.stem) if file.suffix.lower() in SUFFIXES else None
        if pair and (pair["map"] is None or pair["map"] in MAPS):
            name = (file.parent / f"{pair['seed']}_{pair['side']}").as_posix()
            claims.setdefault(name, {}).setdefault(pair["map"] or "image", []).append(file)
        elif file.name == "prompt.json":
            prompts[file.parent.as_posix()] = read_text(root, file, scan, from_prompt) or {}
        elif file == Path("seeds.json"):
            listed = read_text(root, file, scan, from_seeds)
            if listed is None:
                raise UsdError(
                    f"{root / file}: {scan.findings[-1].detail}; correct it, or remove it to take all pictures"
                )
        elif file.name == "metadata.jsonl":
            scan.findings.append(Finding(path_text(file), "accepted", "not needed"))
        else:
            scan.findings.append(refused(file, "not <seed>_0 or <seed>_1, a map of theirs, or prompt.json"))
    samples = assemble(claims, scan)
    for name in sorted((listed or set()) - samples.keys()):
        scan.findings.append(refused(Path("seeds.json"), f"lists {one_line(name)}, which is not a usable image"))
    for name, files in samples.items():
        prompt, side = name.rpartition("/")[0], name[-1]
        caption = prompts.get(prompt or ".", {}).get(side)
        if listed is not None and name not in listed:
            scan.findings += [refused(file, "not listed in seeds.json") for file in files.values()]
        elif caption is None:
            scan.findings += [refused(file, "no caption for it in a prompt.json") for file in files.values()]
        else:
            scan.samples.append(Sample(files, caption, prompt))
    scan.findings += _unmet(scan.samples, maps)
    return scan


def _unmet(samples: list[Sample], maps: Maps) -> Iterator[Finding]:
    """A note on kinds of maps that are declared, but that no picture has."""
    there = {field for sample in samples for field in sample.files}
    if lacking := [field for field in MAPS if getattr(maps, field, None) and field not in there]:
        yield noted(
            f"maps.yaml declares {' and '.join(lacking)}, but no picture has such a map; if there are some, see "
            "docs/own-data.md for the names of files and folders by which they are found"
        )


LAYOUTS: dict[Layout, Callable[[Path, Maps], Scan]] = {"folder": folder, "instruct-pix2pix": instruct_pix2pix}

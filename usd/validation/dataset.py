"""What shows only when all samples are seen together: leaks between splits, repeated maps, stray class colours."""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd

from usd.data.classes import MOST_CLASSES, STRAY
from usd.data.likeness import mirror, near_duplicates
from usd.data.record import SPLITS
from usd.errors import counted

LISTED = 5  # colours and keys that a warning names


def leaks(table: pd.DataFrame) -> list[str]:
    """For each sample the keys in other splits that have the same image; five at most."""
    known = table.loc[table["image_hash"] > 0, ["key", "split", "image_hash"]]
    torn = known[known.groupby("image_hash")["split"].transform("nunique") > 1]
    found: dict[tuple[str, str], str] = {}
    for image, part in torn.groupby("image_hash"):
        for split in part["split"].unique():
            found[image, split] = ", ".join(part.loc[part["split"] != split, "key"].head(LISTED))
    places = zip(table["image_hash"], table["split"], strict=True) if found else [("", "")] * len(table)
    return [found.get(place, "") for place in places]


def near_leaks(table: pd.DataFrame, thumbnails: np.ndarray) -> list[str]:
    """For each sample the keys in other splits whose image is a near-duplicate and not the same; five at most.

    Training pictures are compared as they are and mirrored, as a training sees them. `thumbnails` is changed.
    """
    split, image = table["split"].factorize()[0].astype(np.int8), table["image_hash"].to_numpy()
    copies = pd.DataFrame({"split": split, "image": image}).duplicated()  # only the first in a split is compared
    parts = np.where(table["brightness"].notna() & ~copies, split, np.int8(-1))
    look, most = table["look"].to_numpy(), LISTED + len(SPLITS)
    found: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    near = near_duplicates(look, thumbnails, parts, most)
    train = (table["split"] == "train").to_numpy()
    mirror(thumbnails, np.flatnonzero(train))
    look = np.where(train, table["mirrored"].to_numpy(), look)
    mirrored = near_duplicates(look, thumbnails, np.where(parts < 0, parts, train), most)
    for others_of, known, words in ((near, {}, ""), (mirrored, near, " mirrored")):
        for place, others in others_of.items():
            strange = sorted(o for o in others if image[o] != image[place] and o not in known.get(place, ()))
            found[split[place], image[place]] += [f"{key}{words}" for key in table["key"].iloc[strange]]
    return [", ".join(found[each][:LISTED]) if each in found else "" for each in zip(split, image, strict=True)]


def repeated(table: pd.DataFrame, name: str) -> list[str | None]:
    """What makes a map of this kind say nothing of its picture: it is flat, or the map of several pictures."""
    digest, image = (table[column].factorize()[0] for column in (f"digest_{name}", "image_hash"))
    pairs = pd.DataFrame({"digest": digest, "image": image}).drop_duplicates()
    rank, kinds = pairs.groupby("digest").cumcount(), digest.max(initial=-1) + 1
    places = np.full((2, kinds + 1), -1)  # of the first two samples of a map with different images
    for number in range(2):
        some = pairs[rank == number]
        places[number, some["digest"]] = some.index
    twin = np.where(image[places[0, digest]] != image, places[0, digest], places[1, digest])
    keys = table["key"]
    return [
        (flat or (f"the same map as of {keys.iloc[other]}" if other >= 0 else "")) if isinstance(flat, str) else None
        for flat, other in zip(table[f"flat_{name}"], twin, strict=True)
    ]


def stray_colours(table: pd.DataFrame) -> list[str]:
    """For each sample the colours of its class map that are not classes: nearly equal to one, or beyond the 256th."""
    counts = Counter(colour for each in table["classes"] for colour in class_colours(each))
    ranked = [colour for colour, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    known, stray = np.array(ranked[:MOST_CLASSES], np.int64), dict.fromkeys(ranked[MOST_CLASSES:], "beyond 256 classes")
    channels = np.stack([known >> 16, known >> 8 & 255, known & 255], axis=-1)  # (C, 3), from common to rare
    for place in range(1, len(known)):
        near = np.flatnonzero(np.abs(channels[:place] - channels[place]).max(-1) <= STRAY)
        if len(near):
            stray[int(known[place])] = f"next to #{known[near[0]]:06x}"
    shown = map(class_colours, table["classes"])
    return [", ".join(f"#{c:06x} {stray[c]}" for c in colours if c in stray) for colours in shown]


def warnings(table: pd.DataFrame) -> list[str]:
    """What may be meant, and should be known."""
    found = []
    shown = {split: table.loc[table["split"] == split, "classes"] for split in SPLITS}
    learnt = {colour for each in shown["train"] for colour in class_colours(each)}
    for split in SPLITS[1:] if learnt else ():
        keys = table.loc[table["split"] == split, "key"]
        packed = zip(keys, shown[split], strict=True)
        strange = {key: set(class_colours(each)) - learnt for key, each in packed}
        strange = {key: colours for key, colours in strange.items() if colours}
        if strange:
            names = ", ".join(f"#{colour:06x}" for colour in sorted(set().union(*strange.values()))[:LISTED])
            found.append(
                f"{split} has class colours that no map of train has: {names} (in {counted(len(strange), 'sample')}: "
                f"{', '.join(list(strange)[:LISTED])}); move such pictures to train by splits.csv, or leave them out"
            )
    caption, count = next(iter(table["caption"].value_counts().items()), ("", 0))
    if caption and count > max(1, len(table) / 2):
        found.append(
            f"{count} of {len(table)} captions are '{caption}', so a prompt can change little; give each picture a "
            f"caption of its own, as name.txt or in metadata.jsonl"
        )
    return found


def class_colours(packed: object) -> list[int]:
    """The colours 0xRRGGBB of a sample's class map, in order; none where it has no map."""
    return np.frombuffer(packed, np.int32).tolist() if isinstance(packed, bytes) else []

"""What shows only when all samples are seen together: leaks between splits, repeated maps, stray class colours."""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd

from usd.data.likeness import near_duplicates, near_pairs
from usd.data.record import SPLITS

MOST_CLASSES = 256  # colours in all class maps together
LISTED = 5  # colours and keys that a warning names
STRAY = 3  # levels in red, green and blue, by which no two class colours differ


def leaks(table: pd.DataFrame) -> list[str]:
    """For each sample the keys in other splits that have the same image."""
    places: dict[str, list[tuple[str, str]]] = {}
    entries = list(zip(table["image_hash"], table["key"], table["split"], strict=True))
    for digest, key, split in entries:
        places.setdefault(str(digest), []).append((key, split))
    return [
        ", ".join(k for k, s in places[str(d)] if s != split) if isinstance(d, str) else "" for d, _, split in entries
    ]


def near_leaks(table: pd.DataFrame) -> list[str]:
    """For each sample the keys in other splits whose image is a near-duplicate and not the same; five at most."""
    known = np.flatnonzero(table["look"].notna())
    hashes = table["look"].iloc[known].astype(np.uint64).to_numpy()
    keys, splits, images = (table[name].tolist() for name in ("key", "split", "image_hash"))
    parts = np.unique([str(splits[place]) for place in known], return_inverse=True)[1]
    apart = np.zeros(len(known), bool)  # near one of another split: frames of a film are near thousands of their own
    for left, right in near_pairs(hashes):
        across = parts[left] != parts[right]
        apart[left[across]] = apart[right[across]] = True
    some = known[apart]
    found: dict[int, list[str]] = defaultdict(list)
    for pair in sorted(near_duplicates(hashes[apart], table["thumbnail"].iloc[some].tolist())):
        one, other = (int(some[place]) for place in pair)
        if splits[one] != splits[other] and images[one] != images[other]:
            found[one].append(keys[other])
            found[other].append(keys[one])
    return [", ".join(found[place][:LISTED]) for place in range(len(table))]


def repeated(table: pd.DataFrame, name: str) -> list[str | None]:
    """What makes a map of this kind say nothing of its picture: it is flat, or the map of several pictures."""
    entries = list(zip(table[f"flat_{name}"], table[f"digest_{name}"], table["image_hash"], table["key"], strict=True))
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for _, digest, image, key in entries:
        places[str(digest)].setdefault(str(image), key)
    found: list[str | None] = []
    for flat, digest, image, _ in entries:
        twin = next((key for other, key in places[str(digest)].items() if other != image), "")
        unknown = not isinstance(flat, str)
        found.append(None if unknown else flat or (twin and f"the same map as of {twin}"))
    return found


def stray_colours(table: pd.DataFrame) -> list[str]:
    """For each sample the colours of its class map that are no classes: all but equal to one, or beyond the 256th."""
    shown = [class_colours(each) for each in table["classes"]]
    counts = Counter(colour for colours in shown for colour in colours)
    ranked = [colour for colour, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    known, stray = np.array(ranked[:MOST_CLASSES], np.int64), dict.fromkeys(ranked[MOST_CLASSES:], "beyond 256 classes")
    channels = np.stack([known >> 16, known >> 8 & 255, known & 255], axis=-1)  # (C, 3), from common to rare
    for place in range(1, len(known)):
        near = np.flatnonzero(np.abs(channels[:place] - channels[place]).max(-1) <= STRAY)
        if len(near):
            stray[int(known[place])] = f"next to #{known[near[0]]:06x}"
    return [", ".join(f"#{c:06x} {stray[c]}" for c in colours if c in stray) for colours in shown]


def warnings(table: pd.DataFrame) -> list[str]:
    """What may be meant, and should be known."""
    found = []
    shown = {split: [class_colours(each) for each in part["classes"]] for split, part in table.groupby("split")}
    learnt = {colour for colours in shown.get("train", []) for colour in colours}
    for split in SPLITS[1:] if learnt else ():
        keys = table.loc[table["split"] == split, "key"]
        strange = {key: set(colours) - learnt for key, colours in zip(keys, shown.get(split, []), strict=True)}
        strange = {key: colours for key, colours in strange.items() if colours}
        if strange:
            names = ", ".join(f"#{colour:06x}" for colour in sorted(set().union(*strange.values()))[:LISTED])
            found.append(
                f"{split} has class colours that no map of train has: {names} (in {len(strange)} samples: "
                f"{', '.join(list(strange)[:LISTED])}); move such pictures to train by splits.csv, or leave them out"
            )
    caption, count = next(iter(Counter(table["caption"]).most_common(1)), ("", 0))
    if caption and count > max(1, len(table) / 2):
        found.append(
            f"{count} of {len(table)} captions are '{caption}', so a prompt can change little; give each picture a "
            f"caption of its own, as name.txt or in metadata.jsonl"
        )
    return found


def class_colours(packed: object) -> list[int]:
    """The colours 0xRRGGBB of a sample's class map, in order; none where it has no map."""
    return np.frombuffer(packed, np.int32).tolist() if isinstance(packed, bytes) else []

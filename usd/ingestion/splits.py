"""Splits by content: near-duplicates stay together, and a picture keeps its split when others come.

But a near-duplicate may move its family, and where a split is empty by chance, the family that fills it may be another.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from usd.data.likeness import near_pairs
from usd.data.record import SPLITS
from usd.errors import UsdError, counted
from usd.files import path_text
from usd.ingestion.checking import Checked
from usd.ingestion.findings import Finding, noted
from usd.ingestion.words import SPLIT_WORDS, one_path

SHARES = {"test": 0.05, "val": 0.05}  # of the families; train has the rest
BY_HAND = "decide by hand: splits.csv beside the pictures or --splits FILE, or folders train/, val/, test/"


def families(looks: list[tuple[int, int]], groups: list[str]) -> np.ndarray:
    """The number of each sample's family (N,): near-duplicates and members of one group, through others too.

    Args:
        looks: the perceptual hashes of each sample's picture and of its mirror image.
        groups: to which a sample belongs.
    """
    unique, look = np.unique(np.array(looks, np.uint64).ravel(), return_inverse=True)
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    samples, first_look, first_group = np.arange(len(looks)), len(looks), len(looks) + len(unique)
    edges = [(samples.repeat(2), first_look + look)]
    edges += [(samples, first_group + np.array([place[group] for group in groups]))]
    edges += [(first_look + left, first_look + right) for left, right in near_pairs(unique)]
    rows, columns = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    nodes = first_group + len(place)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(nodes, nodes))
    found: np.ndarray = connected_components(graph)[1][samples]
    return found


def read_splits(path: Path | None) -> dict[str, str]:
    """File name → split, of a CSV file with the columns `file_name` and `split`.

    Raises:
        UsdError: the file is missing or not in its form.
    """
    if path is None:
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            columns = table.fieldnames or ()
            if missing := {"file_name", "split"} - set(columns):
                raise UsdError(f"{path}: no column {min(missing)}; its first line must be file_name,split")
            if double := [name for name in ("file_name", "split") if columns.count(name) > 1]:
                raise UsdError(f"{path}: two columns {double[0]}; its first line must be file_name,split")
            rows = [(one_path(row["file_name"]), row["split"] or "") for row in table]
    except OSError as error:
        raise UsdError(f"{path}: not readable: {error.strerror}; --splits takes a CSV file") from error
    except (TypeError, UnicodeDecodeError, csv.Error) as error:
        raise UsdError(f"{path}: not a table of file_name,split ({error}); see docs/own-data.md") from error
    found: dict[str, str] = {}
    for name, split in rows:
        if (word := split.strip().lower()) not in SPLIT_WORDS:
            raise UsdError(f"{path}: {name}: {split!r} is not a split; expected {', '.join(SPLITS)}")
        found[name] = SPLIT_WORDS[word]
    if twice := [name for name, count in Counter(name for name, _ in rows).items() if count > 1]:
        raise UsdError(f"{path}: names {twice[0]} twice")
    return found


def given_splits(
    sound: list[Checked], by_hand: dict[str, str], refusals: set[str], table: Path
) -> tuple[dict[str, str], list[Finding]]:
    """Content → split of the pictures for which one is given, and notes; of equal pictures the first one's counts.

    What the table gives by hand comes before the source's own.

    Raises:
        UsdError: the table names what is not there.
    """
    own: dict[str, list[tuple[str, str]]] = defaultdict(list)  # content → file, split
    named: dict[str, list[tuple[str, str]]] = defaultdict(list)
    files = [one_path(path_text(each.job.sample.files["image"])) for each in sound]
    for file, each in zip(files, sound, strict=True):
        if each.job.sample.split:
            own[each.content].append((file, each.job.sample.split))
        if file in by_hand:
            named[each.content].append((file, by_hand[file]))
    left = by_hand.keys() - set(files)
    if strange := sorted(left - refusals):
        raise UsdError(f"{table}: {strange[0]} is not an image of the dataset ({counted(len(strange), 'such name')})")
    notes = []
    if left:
        why = f"names {counted(len(left), 'refused picture')}, such as {min(left)}"
        notes.append(noted(f"{table}: {why}; the others keep their splits"))
    given = own | named
    if torn := [rows for rows in given.values() if len({split for _, split in rows}) > 1]:
        other = next(row for row in torn[0] if row[1] != torn[0][0][1])
        shown = " and ".join(f"{file} ({split})" for file, split in (torn[0][0], other))
        why = f"{counted(len(torn), 'picture')} in several splits, byte for byte the same, such as {shown}"
        notes.append(noted(f"{why}: the first one's counts; keep one"))
    return {content: rows[0][1] for content, rows in given.items()}, notes


def assign(
    family: np.ndarray, contents: list[str], seed: int, given: list[str | None] | None = None
) -> tuple[list[str], list[str]]:
    """The split of each sample, and notes on what a person may want to decide.

    A given split is kept. A family without one is drawn by a hash of `seed` and its content alone: .90 train, .05 val,
    .05 test. A split that none was drawn for takes the family nearest to it, unless splits were given.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(family.tolist()):
        members[number].append(place)
    fixed = given or [None] * len(contents)
    drawn = {n: _draw(f"{seed} {min(contents[place] for place in places)}") for n, places in members.items()}
    wanted = {n: {fixed[place] for place in places} - {None} for n, places in members.items()}
    chosen = {n: min(filter(None, wanted[n]), default=_chosen(drawn[n])) for n in members}
    notes = [] if any(fixed) else _fill(chosen, drawn)
    split = [own or chosen[number] for own, number in zip(fixed, family.tolist(), strict=True)]
    if torn := sum(len(each) > 1 for each in wanted.values()):
        notes.append(f"{torn} families of near-duplicates lie in several of the splits that were given; {BY_HAND}")
    if empty := [name for name in SPLITS if name not in split]:
        why = "the splits that were given" if any(fixed) else f"{len(members)} families of near-duplicates in all"
        notes.append(f"no sample in {' and '.join(empty)} ({why}), so stage `validate` will fail; {BY_HAND}")
    return split, notes


def _fill(chosen: dict[int, str], drawn: dict[int, float]) -> list[str]:
    """Give each split that no family was drawn for the one nearest to it, if there are enough; returns a note."""
    filled = []
    for name, place in {"test": 0.0, "val": SHARES["test"], "train": 1.0}.items():
        if name not in chosen.values() and len(chosen) >= len(SPLITS):
            counts = Counter(chosen.values())
            spare = [number for number, split in chosen.items() if counts[split] > 1]
            chosen[min(spare, key=lambda number: abs(drawn[number] - place))] = name
            filled.append(name)
    if not filled:
        return []
    return [f"{' and '.join(filled)}: empty by chance, so one family of pictures was moved there; or {BY_HAND}"]


def _chosen(draw: float) -> str:
    """The split of a draw in [0, 1)."""
    if draw < SHARES["test"]:
        return "test"
    return "val" if draw < SHARES["test"] + SHARES["val"] else "train"


def _draw(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64

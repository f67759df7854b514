"""Splits by content: near-duplicates stay together, and a picture keeps its split when others come."""

import hashlib
from collections.abc import Iterator

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from usd.data.record import SPLITS

TEST, HELD_OUT = 0.05, 0.10  # shares of the families: test, and test and val together
NEAR = 6  # of 64 bits: the most in which the hashes of near-duplicates differ
BAND = 10  # bits; 7 bands make 64, so that hashes which differ in at most 6 agree in one


def perceptual_hash(picture: np.ndarray) -> int:
    """64 bits that hardly change when a picture (H, W, 3) uint8 is scaled, brightened or compressed again.

    The signs of its lowest 8 × 8 cosine coefficients, compared with their median (the "pHash").
    """
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def families(hashes: list[int], groups: list[str]) -> np.ndarray:
    """The number of each sample's family (N,): near-duplicates and members of one group, through others too."""
    unique, look = np.unique(np.array(hashes, np.uint64), return_inverse=True)
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    samples, first_look, first_group = np.arange(len(hashes)), len(hashes), len(hashes) + len(unique)
    edges = [(samples, first_look + look), (samples, first_group + np.array([place[group] for group in groups]))]
    edges += [(first_look + left, first_look + right) for left, right in _near(unique)]
    rows, columns = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    nodes = first_group + len(place)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(nodes, nodes))
    component: np.ndarray = connected_components(graph)[1]
    return component[samples]


def assign(family: np.ndarray, contents: list[str], seed: int) -> list[str]:
    """The split of each sample: .90 train, .05 val, .05 test of the families, by a hash of `seed` and content.

    Of three families or more, each split gets one at least.
    """
    first: dict[int, str] = {}
    for number, content in zip(family.tolist(), contents, strict=True):
        first[number] = min(content, first.get(number, content))
    drawn = {number: _draw(f"{seed} {content}") for number, content in first.items()}
    order = sorted(drawn, key=lambda number: (drawn[number], first[number]))
    least = int(len(order) >= len(SPLITS))
    test = max(least, sum(value < TEST for value in drawn.values()))
    held_out = max(test + least, sum(value < HELD_OUT for value in drawn.values()))
    split = dict.fromkeys(order, "train") | dict.fromkeys(order[:held_out], "val") | dict.fromkeys(order[:test], "test")
    return [split[number] for number in family.tolist()]


def _near(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of places in `hashes` (N,) uint64 that differ in at most NEAR bits."""
    for band in range(NEAR + 1):
        part = hashes >> np.uint64(BAND * band) & np.uint64(2**BAND - 1)
        order = np.argsort(part, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            for place in bucket[:-1] if len(bucket) > 1 else ():
                close = bucket[np.bitwise_count(hashes[bucket] ^ hashes[place]) <= NEAR]
                yield np.full(len(close), place), close


def _draw(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64

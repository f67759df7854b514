"""Near-duplicate pictures: a hash that hardly changes when a picture is scaled, brightened or compressed again."""

from collections.abc import Iterator

import cv2
import numpy as np

NEAR = 6  # of 64 bits: the most in which the hashes of near-duplicates differ
BAND = 10  # bits; 7 bands make 64, so that hashes which differ in at most 6 agree in one


def perceptual_hash(picture: np.ndarray) -> int:
    """64 bits of a picture (H, W, 3) uint8: the "pHash".

    They are the signs of its lowest 8 × 8 cosine coefficients, compared with their median.
    """
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def near_pairs(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of places in `hashes` (N,) uint64 that differ in at most NEAR bits; a pair may come several times."""
    for band in range(NEAR + 1):
        part = hashes >> np.uint64(BAND * band) & np.uint64(2**BAND - 1)
        order = np.argsort(part, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            for place in bucket[:-1] if len(bucket) > 1 else ():
                close = bucket[np.bitwise_count(hashes[bucket] ^ hashes[place]) <= NEAR]
                yield np.full(len(close), place), close

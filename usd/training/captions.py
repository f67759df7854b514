"""Captions that a base does not read to their end."""

import numpy as np

from usd.data.shards import Split
from usd.model.base import Base, prompt_tokens

EXAMINED = 10_000  # captions, spread evenly; more would hardly change the share


def long_captions(base: Base, split: Split) -> str:
    """A warning if captions have more tokens than the base reads, with one of their keys; "" if none has."""
    numbers = np.unique(np.linspace(0, len(split) - 1, EXAMINED).astype(int)).tolist()
    most = prompt_tokens(base)
    tokens = base.tokenizer([split.rows.caption(number) for number in numbers], truncation=False, verbose=False)
    long = [number for number, ids in zip(numbers, tokens.input_ids, strict=True) if len(ids) > most]
    if not long:
        return ""
    return (
        f"{len(long)} of {len(numbers)} captions ({len(long) / len(numbers):.1%}) have more than the {most} tokens "
        f"that the base reads, {split.rows.key(long[0])} for one; the rest of them is not read: shorten the captions"
    )

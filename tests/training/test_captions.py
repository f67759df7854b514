"""Captions that a base does not read to their end."""

from pathlib import Path

from usd.data.shards import Shards
from usd.model.base import Base
from usd.training.captions import long_captions


def test_captions_longer_than_the_base_reads_are_counted_and_one_is_named(base: Base, tiny: Path) -> None:
    split = Shards.open(tiny / "shards")["train"]
    assert long_captions(base, split) == ""
    lengths = [len(ids) for ids in base.tokenizer(list(split.captions())).input_ids]
    base.tokenizer.model_max_length = sorted(lengths)[-3]
    long = [key for key, length in zip(split.keys, lengths, strict=True) if length > sorted(lengths)[-3]]
    found = long_captions(base, split)
    assert found.startswith(f"{len(long)} of 48 captions (")
    assert f"more than the {sorted(lengths)[-3]} tokens that the base reads, {long[0]} for one" in found

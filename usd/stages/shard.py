"""Stage `shard`: pack the validated samples into WebDataset shards, with their index and mean maps."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors.numpy import save_file

from usd import config
from usd.data.index import MEANS, Shard, read_index, table, table_name, write_index, write_table
from usd.data.integrity import remember
from usd.data.packing import Job, pack
from usd.data.record import read_manifest
from usd.errors import UsdError
from usd.files import atomic_directory, read_json
from usd.parallel import CHUNK_BYTES, parallel_map
from usd.stages import run


def main(scenes: Path, annotated: Path, validation: Path, out: Path) -> None:
    """Pack SCENES and ANNOTATED into the shards OUT, if the summary in VALIDATION says that they are sound."""
    params = config.load().shard
    summary = validation / "summary.json"
    if not read_json(summary)["success"]:
        raise UsdError(f"{summary}: validation failed; mend the data and run `dvc repro validate`")
    frame = read_manifest(annotated)
    with atomic_directory(out) as scratch:
        todo = jobs(frame, params.samples, scenes, annotated, scratch)
        count = sum(-(-size // params.samples) for size in frame["split"].value_counts())
        shards: dict[str, list[Shard]] = {}
        rows: dict[str, list[pa.RecordBatch]] = {}
        sums: dict[str, np.ndarray] = {}
        for packed in parallel_map(pack, todo, "shard", count, CHUNK_BYTES):
            split = packed.shard.name.rsplit("-", 1)[0]
            shards.setdefault(split, []).append(packed.shard)
            rows.setdefault(split, []).append(packed.rows)
            for name, part in packed.sums.items():
                sums[name] = sums[name] + part if name in sums else part
        for split, parts in rows.items():
            write_table(table(parts), scratch / table_name(split))
        samples = sum(shard.samples for shard in shards.get("train", []))
        means = {name: (total / (255 * samples)).astype(np.float32) for name, total in sums.items()}
        save_file(means, scratch / MEANS)
        write_index(scratch, shards)
    index = read_index(out)
    remember(out, (*index.shards, *index.files))


def jobs(frame: pd.DataFrame, samples: int, scenes: Path, annotated: Path, out: Path) -> Iterator[Job]:
    """A job a shard; the training split's add up its maps."""
    for split, part in frame.groupby("split"):
        for number, start in enumerate(range(0, len(part), samples)):
            rows = part.iloc[start : start + samples].to_dict("records")
            yield Job(out / f"{split}-{number:04d}.tar", number, rows, scenes, annotated, sums=split == "train")


if __name__ == "__main__":
    run(main)

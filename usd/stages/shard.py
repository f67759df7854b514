"""Stage `shard`: pack the validated samples into WebDataset shards, with their index and mean maps."""

from collections.abc import Iterator
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file

from usd import config
from usd.data.index import INDEX, MEANS, ShardFile, read_index, table, table_name, write_index, write_table
from usd.data.integrity import remember
from usd.data.packing import Packing, pack
from usd.data.record import RENDERED, Manifest, data_digest, sample_hash
from usd.errors import UsdError
from usd.files import atomic_directory, read_json
from usd.parallel import CHUNK_BYTES, parallel_map, portions
from usd.stages import run
from usd.tasks import FIELDS


def main(scenes: Path, annotated: Path, validation: Path, out: Path) -> None:
    """Pack SCENES and ANNOTATED into the shards OUT, if the summary in VALIDATION says that they are sound."""
    params = config.load().shard
    summary = validation / "summary.json"
    verdict = read_json(summary)
    success = verdict.get("success") if isinstance(verdict, dict) else None
    if not isinstance(success, bool):
        raise UsdError(f"{summary}: does not say whether the data are sound; run `dvc repro validate`")
    if not success:
        raise UsdError(f"{summary}: validation failed; fix the data and run `dvc repro validate`")
    manifest = Manifest(annotated)
    if "digest" in verdict and verdict["digest"] != digest(Manifest(scenes), manifest):
        raise UsdError(f"{summary}: was made from data other than {scenes} and {annotated}; run `dvc repro validate`")
    with atomic_directory(out, INDEX) as scratch:
        todo = jobs(manifest, params.samples, scenes, annotated, scratch)
        total = sum(-(-size // params.samples) for size in manifest.splits.values())
        shards: dict[str, list[ShardFile]] = {}
        rows: dict[str, list[pa.RecordBatch]] = {}
        sums: dict[str, np.ndarray] = {}
        for packed in parallel_map(pack, todo, "shard", total, CHUNK_BYTES):
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


def digest(scenes: Manifest, annotated: Manifest) -> str:
    """The digest of the data as stage `validate` writes it, by what the manifests say of their files."""
    hashes = []
    rows: Iterator[tuple[dict[str, Any], dict[str, Any]]] = zip_longest(scenes.rows(), annotated.rows(), fillvalue={})
    for brought, row in rows:
        declared = {f"scenes/{name}": brought.get(f"{name}_sha256") for name in RENDERED}
        digests = {name: found for name, found in declared.items() if found}
        digests |= {f"annotated/{name}": str(row.get(f"{name}_sha256")) for name in FIELDS}
        key, split, caption = (str(row.get(name) or "") for name in ("key", "split", "caption"))
        hashes.append(sample_hash(key, split, caption.strip(), digests))
    return data_digest(hashes)


def jobs(manifest: Manifest, samples: int, scenes: Path, annotated: Path, out: Path) -> Iterator[Packing]:
    """A job a shard; the training split's add up its maps. Keys start with their splits, so these come one by one."""
    for split, rows in groupby(manifest.rows(), lambda row: str(row["split"])):
        for number, part in enumerate(portions(rows, samples)):
            yield Packing(out / f"{split}-{number:04d}.tar", number, part, scenes, annotated, sums=split == "train")


if __name__ == "__main__":
    run(main)

"""Stage `annotate`: complete every sample with the maps of the task table."""

from pathlib import Path

from usd import config
from usd.data.maps import DERIVE
from usd.data.parallel import parallel_map
from usd.data.record import atomic_directory, encode_png, field_path, read_manifest, read_png, sha256, write_manifest
from usd.stages import run
from usd.stages.render import FIELDS
from usd.tasks import MAPS


def complete(job: tuple[dict[str, object], config.Annotate, Path, Path]) -> dict[str, object]:
    """Derive, write and digest all maps of one sample; returns its manifest row."""
    row, params, scenes, out = job
    key = str(row["key"])
    fields = {field: read_png(field_path(scenes, key, field)) for field in FIELDS}
    digests = {"image_sha256": row["image_sha256"]}
    for name in MAPS:
        data = encode_png(DERIVE[name](fields, params))
        field_path(out, key, name).write_bytes(data)
        digests[f"{name}_sha256"] = sha256(data)
    return {name: row[name] for name in ("key", "split", "seed", "caption")} | digests


def main(scenes: Path, out: Path) -> None:
    """Derive the maps of the folder dataset SCENES into OUT, which has one manifest row a sample."""
    params = config.load().annotate
    rows = read_manifest(scenes).to_dict("records")
    with atomic_directory(out) as scratch:
        for split in sorted({str(row["split"]) for row in rows}):
            (scratch / split).mkdir()
        jobs = [(row, params, scenes, scratch) for row in rows]
        write_manifest(list(parallel_map(complete, jobs, "annotate", chunk=32)), scratch)


if __name__ == "__main__":
    run(main)

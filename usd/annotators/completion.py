"""A sample completed with all maps of the task table."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from usd import config
from usd.annotators.bundled import Annotator
from usd.annotators.loading import load_annotators
from usd.annotators.maps import derive
from usd.config.training import NO_NETWORKS
from usd.data.record import RENDERED, field_path, read_field
from usd.errors import UsdError
from usd.files import sha256
from usd.images import decode_png, encode_png
from usd.tasks import MAPS


@dataclass(frozen=True)
class Completion:
    """A sample to be completed."""

    row: dict[str, object]  # of the manifest of `scenes`
    params: config.Annotate
    scenes: Path
    out: Path


@cache
def networks(folder: str) -> dict[str, Annotator]:
    """This process's annotators."""
    if folder == NO_NETWORKS:
        return {}
    if not Path(folder).is_dir():
        raise UsdError(f"annotate.networks: {folder} is not there; copy models/annotators to it, or a config.json")
    return load_annotators(Path(folder))


def complete(job: Completion) -> dict[str, object]:
    """Write and digest all maps of one sample, those that it brings and those it lacks; returns its manifest row."""
    row, params = job.row, job.params
    key = str(row["key"])
    brought = [field for field in dict.fromkeys((*RENDERED, *MAPS)) if isinstance(row.get(f"{field}_sha256"), str)]
    fields = {
        field: decode_png(read_field(job.scenes, row, field), str(field_path(job.scenes, key, field)))
        for field in brought
    }
    digests = {"image_sha256": row["image_sha256"]}
    for name in MAPS:
        if name not in fields:
            try:
                fields[name] = derive(name, fields, params, networks(params.networks))
            except UsdError as error:
                raise UsdError(f"{key}: {error}") from None
        data = encode_png(fields[name])
        field_path(job.out, key, name).write_bytes(data)
        digests[f"{name}_sha256"] = sha256(data)
    return {name: row[name] for name in ("key", "split", "seed", "caption")} | digests

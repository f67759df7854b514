"""The record: one sample on disk and in a shard, and the folder dataset with its manifest.

A folder dataset holds `<split>/<key>.<field>.png` and `manifest.parquet`, one row a sample.
A shard holds the same fields under the same names, and the caption as `<key>.txt`.
"""

from pathlib import Path

import pandas as pd

from usd.errors import UsdError

SPLITS = ("train", "val", "test")
RENDERED = ("image", "depth_mm", "class_id", "normal")  # the fields that a rendered scene brings

MANIFEST = "manifest.parquet"


def field_path(root: Path, key: str, field: str) -> Path:
    """Where a folder dataset keeps a field of a sample; the key starts with its split."""
    return root / key.split("-")[0] / f"{key}.{field}.png"


def read_manifest(root: Path) -> pd.DataFrame:
    """The manifest of a folder dataset, sorted by key."""
    try:
        return pd.read_parquet(root / MANIFEST)
    except FileNotFoundError:
        raise UsdError(f"{root / MANIFEST}: not found; run the stage that makes it") from None
    except (OSError, ValueError) as error:  # of which Arrow's errors are
        raise UsdError(f"{root / MANIFEST}: not a readable table ({error}); run the stage that makes it") from error


def write_manifest(rows: list[dict[str, object]], root: Path) -> None:
    """Write rows as the manifest, sorted by key so that its bytes do not depend on worker order."""
    frame = pd.DataFrame(rows).sort_values("key", ignore_index=True)
    frame.to_parquet(root / MANIFEST, index=False)

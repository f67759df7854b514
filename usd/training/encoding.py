"""`usd encode`: latents and text states of all training samples, computed once for a base with a real VAE."""

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from usd.data.encoded import ENCODED_FIELDS, HEADER, INDEX, PROMPTS, TYPE, EncodedIndex
from usd.data.index import described, read_index
from usd.data.shards import Shards, Split
from usd.data.transforms import mirrored_caption
from usd.errors import UsdError
from usd.files import atomic_write, read_json
from usd.images import to_tensor
from usd.model.base import Base, PatchCodec, encode, encode_text
from usd.tasks import TRAINED, has_directions

SPLIT = "train"
BEGUN = "begun.json"  # whose columns an unfinished folder has


def encode_samples(base: Base, shards: Shards, out: Path, batch_size: int) -> None:
    """Write the columns of the training split into `out`; finished shards are not encoded again.

    Raises:
        UsdError: the folder has columns of another base or of other shards.
    """
    if isinstance(base.vae, PatchCodec):
        raise UsdError(
            "train.base: this base's codec only moves pixels, so there is nothing to encode; leave train.encoded empty"
        )
    split, base = shards[SPLIT], base.freeze()
    origin = {"base": base.digest(), "data": shards.digest}
    if (out / BEGUN).exists() and read_json(out / BEGUN) != origin:
        raise UsdError(f"{out}: has columns of another base or of other shards; give another folder, or delete it")
    atomic_write(out / BEGUN, json.dumps(origin) + "\n")
    names = [Path(shard.name).stem for shard in read_index(shards.root).splits[SPLIT]]
    mirrored = {
        name: _encode_shard(base, split, np.flatnonzero(split.rows.shard == number).tolist(), out / name, batch_size)
        for number, name in enumerate(track(names, description="encode"))
    }
    prompts = sorted({task.map.prompt for task in TRAINED})
    atomic_write(out / PROMPTS, npy(np.concatenate(list(_text(base, prompts, batch_size)))))
    shapes = [list(np.load(out / f"{names[0]}.{kind}.npy", mmap_mode="r").shape) for kind in ("latents", "text")]
    files = [asdict(described(path)) for path in sorted(out.glob("*.npy"))]
    columns = EncodedIndex(
        **origin,
        latents=shapes[0][3:],
        text=shapes[1][1:],
        prompts=prompts,
        shards={SPLIT: names},
        mirrored=mirrored,
        files=files,
    )
    atomic_write(out / INDEX, json.dumps(asdict(columns), indent=1) + "\n")


def _encode_shard(base: Base, split: Split, rows: list[int], stem: Path, batch_size: int) -> list[int]:
    """Write the columns of the samples with these numbers; returns which have another caption when mirrored.

    Those captions follow the others.
    """
    latents, text = Path(f"{stem}.latents.npy"), Path(f"{stem}.text.npy")
    captions = [split.rows.caption(row) for row in rows]
    second = {place: other for place, each in enumerate(captions) if (other := mirrored_caption(each)) != each}
    states = [*captions, *second.values()]
    if not text.exists() or len(np.load(text, mmap_mode="r")) != len(states):
        atomic_write(text, npy(np.concatenate(list(_text(base, states, batch_size)))))
    if not latents.exists():
        atomic_write(latents, npy(np.concatenate(list(_latents(base, split, rows, batch_size)))))
    return list(second)


def npy(array: np.ndarray) -> bytes:
    """The bytes of a .npy file, whose values begin at HEADER."""
    buffer = io.BytesIO()
    np.save(buffer, array.astype(TYPE))
    data = buffer.getvalue()
    if len(data) != HEADER + array.size * TYPE.itemsize:
        raise UsdError(f"a .npy file of shape {array.shape} has a header of another size than {HEADER} bytes")
    return data


@torch.no_grad()
def _latents(base: Base, split: Split, rows: list[int], batch_size: int) -> Iterator[np.ndarray]:
    """(B, F, 2, C, h, w) of the samples with these numbers."""
    for start in range(0, len(rows), batch_size):
        keys = [split.rows.key(row) for row in rows[start : start + batch_size]]
        fields = {field: to_tensor(split.pictures(keys, field)).to(base.unet.device) for field in ENCODED_FIELDS}
        both = [[image, _mirrored(field, image)] for field, image in fields.items()]  # (B, 3, H, W) each
        latents = [np.stack([_half(encode(base.vae, image)) for image in pair], axis=1) for pair in both]
        yield np.stack(latents, axis=1)


def _mirrored(field: str, image: Tensor) -> Tensor:
    """A field (B, 3, H, W) in [0, 1], mirrored as `usd.data.transforms.augment` does it."""
    flipped = image.flip(-1)
    if has_directions(field):
        flipped[:, 0] = 1 - flipped[:, 0]
    return flipped


@torch.no_grad()
def _text(base: Base, prompts: list[str], batch_size: int) -> Iterator[np.ndarray]:
    """(B, L, D)."""
    for start in range(0, len(prompts), batch_size):
        yield _half(encode_text(base, prompts[start : start + batch_size]))


def _half(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().to(torch.float16).numpy()

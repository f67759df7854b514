"""WebDataset shards: written in parallel and byte-identical, read in an order that depends on the seed alone.

The training stream is one sequence of micro-batches, whatever the number of processes: rank r of R takes the items
r·B … (r+1)·B of each, worker w of W decodes every W-th one. So a run may be resumed, or moved to other hardware, and
sees the same data.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset.gopen import gopen_schemes

from usd.data.record import field_path
from usd.data.storage import Root, is_remote, open_binary, read_bytes, size, write_bytes
from usd.data.transforms import augment
from usd.errors import UsdError
from usd.files import sha256
from usd.images import decode_png, to_tensor
from usd.tasks import MAPS, TRAINED, Task

INDEX = "index.json"
FIELDS = ("image", *MAPS)
SHUFFLE_BUFFER = 1000  # samples
gopen_schemes["s3"] = lambda url, mode, buffering: open_binary(url, mode)  # WebDataset itself would call a command
KEPT = 2**29  # bytes: a training split up to this size is read from its tar files once, not once an epoch


@dataclass(frozen=True)
class Batch:
    """Items of one task. Pictures are (B, 3, H, W) in [0, 1]."""

    task: Task
    query: Tensor
    target: Tensor
    example_source: Tensor
    example_target: Tensor
    captions: list[str]  # of the queries
    example_captions: list[str]
    keys: list[str]  # of the queries
    index: int  # the micro-batch's number in the stream

    @property
    def label(self) -> str:
        """What an error message says of it."""
        return f"task {self.task.name}, keys {', '.join(self.keys)}"


@dataclass(frozen=True)
class Mixture:
    """A batch of every trained task, for one training step.

    With one task a step, Adam chased the last task and hardly learned.
    """

    parts: list[Batch]

    @property
    def index(self) -> int:
        """The number of its first micro-batch in the stream."""
        return self.parts[0].index

    @property
    def label(self) -> str:
        """What an error message says of it."""
        return "; ".join(part.label for part in self.parts)


def write_shard(job: tuple[Path, list[dict[str, Any]], Path, Path]) -> dict[str, Any]:
    """Pack samples (manifest rows) into the tar file `path`; returns its index entry."""
    path, rows, scenes, annotated = job
    buffer = io.BytesIO()
    with wds.TarWriter(buffer, mtime=0, encoder=False) as tar:
        for row in rows:
            key = str(row["key"])
            sample = {"__key__": key, "caption.txt": str(row["caption"]).encode()}
            for field in FIELDS:
                source = field_path(scenes if field == "image" else annotated, key, field)
                data = source.read_bytes()
                if sha256(data) != row[f"{field}_sha256"]:
                    raise UsdError(f"{source}: differs from the manifest; run `dvc repro annotate`")
                sample[f"{field}.png"] = data
            tar.write(sample)
    data = buffer.getvalue()
    path.write_bytes(data)
    return {"shard": path.name, "samples": len(rows), "bytes": len(data), "sha256": sha256(data)}


def read_index(root: Root) -> dict[str, list[dict[str, Any]]]:
    """The shards of each split.

    Raises:
        UsdError: no index, or an empty split.
    """
    try:
        index: dict[str, list[dict[str, Any]]] = json.loads(read_bytes(f"{root}/{INDEX}"))
    except (UsdError, ValueError) as error:
        raise UsdError(f"{root}: no readable index ({error}); run `dvc repro shard`") from error
    for split, shards in index.items():
        if not sum(shard["samples"] for shard in shards):
            raise UsdError(f"{root}: split '{split}' is empty")
    return index


def check_shards(root: Root) -> str:
    """Compare every shard with the index, remote ones by their sizes only; returns the data's digest.

    Raises:
        UsdError: a shard is missing or damaged.
    """
    index = read_index(root)
    for shard in (shard for shards in index.values() for shard in shards):
        url = f"{root}/{shard['shard']}"
        if is_remote(root):
            if size(url) != shard["bytes"]:
                raise UsdError(f"{url}: of another size than the index says; upload the shards again")
            continue
        try:
            with open_binary(url) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except (UsdError, OSError) as error:
            raise UsdError(f"{error}; run `dvc repro shard`") from error
        if found != shard["sha256"]:
            raise UsdError(f"{url}: damaged (sha256 differs from the index); run `dvc repro shard`")
    return sha256(json.dumps(index, sort_keys=True).encode())


def upload(root: Path, url: str) -> None:
    """Copy shards to an object storage, the index last: at a new URL, readers see all of them or none."""
    check_shards(root)
    url = url.rstrip("/")
    shards = [shard for split in read_index(root).values() for shard in split]
    for shard in track(shards, description="upload"):
        write_bytes(f"{url}/{shard['shard']}", (root / shard["shard"]).read_bytes())
    write_bytes(f"{url}/{INDEX}", (root / INDEX).read_bytes())


def read_split(root: Root, split: str) -> Iterator[dict[str, Any]]:
    """Every sample of a split exactly once, in key order: `__key__`, `caption`, and encoded PNG bytes a field."""
    yield from _samples([f"{root}/{shard['shard']}" for shard in _shards(root, split)])


def _shards(root: Root, split: str) -> list[dict[str, Any]]:
    shards = read_index(root).get(split)
    if shards is None:
        raise UsdError(f"{root}: no split '{split}'; run `dvc repro shard`")
    return shards


def picture(sample: dict[str, Any], field: str) -> np.ndarray:
    """One decoded field of a sample, (H, W, 3) uint8."""
    if field not in sample:
        raise UsdError(f"{sample['__key__']}: field '{field}' is missing from its shard; run `dvc repro shard`")
    return decode_png(sample[field], f"{sample['__key__']}.{field}.png")


class TrainingStream(IterableDataset[Batch]):
    """Endless micro-batches from `start` on; see the module's text for the order."""

    def __init__(
        self,
        root: Root,
        seed: int,
        batch_size: int,
        flip: float,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        tasks: tuple[Task, ...] = TRAINED,
    ) -> None:
        shards = _shards(root, "train")
        self.urls = [f"{root}/{shard['shard']}" for shard in shards]
        self.items_per_epoch = sum(shard["samples"] for shard in shards) // 2
        self.keep = sum(shard["bytes"] for shard in shards) <= KEPT
        self.kept: dict[str, list[dict[str, Any]]] = {}  # by URL
        self.seed, self.batch_size, self.flip = seed, batch_size, flip
        self.start, self.rank, self.world, self.tasks = start, rank, world, tasks
        if self.items_per_epoch < batch_size * world:
            raise UsdError(
                f"{root}: {2 * self.items_per_epoch} training samples cannot fill one batch of "
                f"{batch_size * world} pairs; lower the stage's batch_size or render more"
            )

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        per_epoch = self.items_per_epoch // (self.batch_size * self.world)
        epoch, offset = divmod(self.start, per_epoch)
        index = self.start
        while True:
            for batch, items in enumerate(self._epoch(epoch, per_epoch)):
                if batch >= offset:
                    if (index - self.start) % stride == first:
                        yield self._batch(items, index, epoch)
                    index += 1
            epoch, offset = epoch + 1, 0

    def _epoch(self, epoch: int, batches: int) -> Iterator[list[tuple[dict[str, Any], dict[str, Any]]]]:
        """This rank's undecoded (query, example) pairs of each of an epoch's batches."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.urls))
        shuffle = wds.detshuffle(SHUFFLE_BUFFER, seed=self.seed, epoch=epoch)
        samples = iter(wds.DataPipeline(lambda: chain.from_iterable(self._shard(self.urls[i]) for i in order), shuffle))
        for _ in range(batches):
            pairs = [(next(samples), next(samples)) for _ in range(self.batch_size * self.world)]
            yield pairs[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]

    def _shard(self, url: str) -> Iterable[dict[str, Any]]:
        if not self.keep:
            return _samples([url])
        if url not in self.kept:
            self.kept[url] = list(_samples([url]))
        return self.kept[url]

    def _batch(self, items: list[tuple[dict[str, Any], dict[str, Any]]], index: int, epoch: int) -> Batch:
        task = task_of(index, self.seed, self.tasks)
        fields = (task.source, task.target)
        queries, examples = zip(*items, strict=True)
        pictures = [
            augment(
                {field: picture(sample, field) for field in fields}, self.flip, (self.seed, epoch), sample["__key__"]
            )
            for sample in (*queries, *examples)
        ]
        source, target = (to_tensor(np.stack([each[field] for each in pictures])) for field in fields)
        (query, example_source), (truth, example_target) = source.chunk(2), target.chunk(2)
        captions, example_captions = ([sample["caption"] for sample in part] for part in (queries, examples))
        keys = [sample["__key__"] for sample in queries]
        return Batch(task, query, truth, example_source, example_target, captions, example_captions, keys, index)


def task_of(index: int, seed: int, tasks: tuple[Task, ...] = TRAINED) -> Task:
    """The task of a micro-batch: each run of len(tasks) batches has every task once, in random order."""
    turn, place = divmod(index, len(tasks))
    return tasks[int(np.random.default_rng((seed, turn)).permutation(len(tasks))[place])]


def training_loader(stream: TrainingStream, workers: int) -> Iterator[Batch]:
    """Batches of the stream, decoded in `workers` processes."""
    loader: DataLoader[Batch] = DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 * len(TRAINED) if workers else None,
        worker_init_fn=_single_thread,
        collate_fn=_keep,
    )
    return iter(loader)


def mixtures(batches: Iterator[Batch]) -> Iterator[Mixture]:
    """The batches of a stream, those of each round of tasks together."""
    while True:
        yield Mixture(list(islice(batches, len(TRAINED))))


def _single_thread(_: int) -> None:
    torch.set_num_threads(1)


def _keep(batch: Any) -> Any:
    return batch


def _samples(urls: list[str]) -> Iterator[dict[str, Any]]:
    """Samples of tar files in order, fields undecoded; a damaged tar ends with an error naming it."""
    iterator = iter(wds.DataPipeline(wds.SimpleShardList(urls), wds.tarfile_to_samples(handler=wds.reraise_exception)))
    while True:
        try:
            sample = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            raise UsdError(f"damaged shard: {error}; run `dvc repro shard`") from error
        fields = {name.removesuffix(".png"): data for name, data in sample.items() if name.endswith(".png")}
        yield {"__key__": sample["__key__"], "caption": sample["caption.txt"].decode(), **fields}

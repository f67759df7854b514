"""Whether the data path keeps its promises: every bar compares two sides in one run, and prints their ratio.

python -m benchmarks.data
python -m benchmarks.data --only stream --only ranks --samples 2000
"""

import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import torch
import typer

from benchmarks.dataset import ROUNDS, draw_scenes, packed
from benchmarks.outcome import Bar, printed_by
from benchmarks.stages import packing, stages
from usd.data import ranges
from usd.data.index import schema, write_table
from usd.data.loader import training_loader
from usd.data.shards import Shards, upload
from usd.data.stream import TrainingStream
from usd.data.transforms import augment
from usd.parallel import cores
from usd.tasks import FIELDS

ROWS = 1_000_000  # of the synthetic index
BATCH = 4  # items of each task


def stream(samples: int) -> Iterator[Bar]:
    """The stream with one worker beside decoding and augmenting the same fields, from memory, in a loop."""
    split = Shards.open(packed(samples) / "shards")["train"]
    tried = TrainingStream(split, 1, BATCH, 0.5)
    count = 60
    loaded = [
        [(wanted, split.read([wanted])[0]) for i in tried.items(n) for wanted in tried.wanted(i)] for n in range(count)
    ]
    plain, streamed = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for batch in loaded:
            for wanted, data in batch:
                augment(split.decode(wanted, data), 0.5, (1, 0), split.rows.key(wanted.number))
        plain.append(2 * tried.size * count / (time.perf_counter() - began))
        loader = training_loader(tried, 1)
        next(loader)
        began = time.perf_counter()
        for _ in islice(loader, count):
            pass
        streamed.append(2 * tried.size * count / (time.perf_counter() - began))
        del loader
    sides = f"{median(streamed):.0f} against {median(plain):.0f} samples/s"
    ratios = [a / b for a, b in zip(streamed, plain, strict=True)]
    yield Bar("stream with one worker / decode + augment", median(ratios), 0.95, None, sides)


def ranks(samples: int) -> Iterator[Bar]:
    """One rank's own samples a second, of 1, of 8 and of 64."""
    split = Shards.open(packed(samples) / "shards")["train"]
    speeds: dict[int, list[float]] = {1: [], 8: [], 64: []}
    for _ in range(ROUNDS):
        for world, found in speeds.items():
            packets = TrainingStream(split, 1, BATCH, 0.5, rank=world - 1, world=world).packets()
            next(packets)
            began, count = time.perf_counter(), 30
            size = sum(2 * len(packet.keys) for packet in islice(packets, count))
            found.append(size / (time.perf_counter() - began))
    for world in (8, 64):
        sides = f"{median(speeds[world]):.0f} against {median(speeds[1]):.0f} samples/s"
        ratios = [a / b for a, b in zip(speeds[world], speeds[1], strict=True)]
        yield Bar(f"own samples/s of a rank of {world} / of 1", median(ratios), 0.9, None, sides)


def resume(samples: int) -> Iterator[Bar]:
    """The first batch after resuming anywhere beside the first of all; shards are opened for each."""
    root = packed(samples) / "shards"
    epoch = max(1, samples // (6 * BATCH))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    chosen = random.Random(0)
    for _ in range(15):
        for resumed, found in seconds.items():
            began = time.perf_counter()
            start = chosen.randrange(1, 3 * epoch + 1) if resumed else 0
            next(TrainingStream(Shards.open(root)["train"], 1, BATCH, 0.5, start).packets())
            found.append(time.perf_counter() - began)
    later, first = (median(seconds[resumed]) for resumed in (True, False))
    sides = f"{1000 * later:.1f} against {1000 * first:.1f} ms, {samples} samples"
    yield Bar("first batch after resuming anywhere / first of all", later / first, None, 1.2, sides)


OPEN = """
import random, sys, time
from pathlib import Path
from benchmarks.outcome import peak
from usd.data.index import Rows
from usd.tasks import FIELDS
before = peak()
began = time.perf_counter()
rows = Rows(Path(sys.argv[1]))
opened = time.perf_counter() - began
numbers = [random.Random(n).randrange(len(rows)) for n in range(5000)]
began = time.perf_counter()
for number in numbers:
    found = rows.number(f"train-{number:07d}")
    [rows.extent(found, field) for field in FIELDS], rows.caption(found)
each = (time.perf_counter() - began) / len(numbers)
print(opened, (peak() - before) / 1e6, 1000 * each)
"""


def index(samples: int) -> Iterator[Bar]:
    """Opening the index of a million synthetic samples, and a random item of it."""
    numbers = np.arange(ROWS)
    text = {"key": np.char.mod("train-%07d", numbers), "caption": np.char.mod("a scene with %d red cubes", numbers)}
    columns = dict.fromkeys(schema().names[3:], numbers)
    table = pa.table(text | {"shard": numbers // 500} | columns)
    write_table(table.cast(schema()), Path("million.arrow"))
    opened, megabytes, each = map(float, printed_by(OPEN, "million.arrow"))
    size = Path("million.arrow").stat().st_size / 1e6
    yield Bar("opening the index of 1 000 000 samples, s", opened, None, 2, f"a file of {size:.0f} MB")
    yield Bar("its memory after 5 000 random items, MB", megabytes, None, 300, f"{len(FIELDS)} fields a sample")
    yield Bar("a random item by its key, ms", each, None, 1, "mean of 5 000")


def fetched(samples: int) -> Iterator[Bar]:
    """Bytes and requests that training asks of an S3-compatible server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
    fsspec.filesystem("s3").makedirs("usd", exist_ok=True)
    upload(packed(samples) / "shards", "s3://usd/shards")
    split = Shards.open("s3://usd/shards")["train"]
    counts, read = [], ranges.read_ranges

    def counted(asked: list[tuple[str, int, int]]) -> list[bytes]:
        found = read(asked)
        counts.extend(map(len, found))
        return found

    ranges.read_ranges = counted  # type: ignore[assignment]
    tried = TrainingStream(split, 1, BATCH, 0.5)
    batches = 10
    for number in range(batches):
        tried.packet(number)
    ranges.read_ranges = read
    wanted = [each for n in range(batches) for item in tried.items(n) for each in tried.wanted(item)]
    sizes = [split.rows.extent(each.number, field)[1] for each in wanted for field in each.fields]
    used = sum(sizes)
    server.stop()
    sides = f"{sum(counts) / 1e3:.0f} kB in {len(counts)} requests for {len(sizes)} pictures of {used / 1e3:.0f} kB"
    yield Bar("bytes fetched from S3 / bytes of the fields used", sum(counts) / used, None, 1.1, sides)


BARS: dict[str, Callable[[int], Iterator[Bar]]] = {
    "stream": stream,
    "ranks": ranks,
    "resume": resume,
    "index": index,
    "stages": stages,
    "fetched": fetched,
    "packing": packing,
}


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(BARS)}; may be repeated.")] = None,
    samples: Annotated[int, typer.Option(help="Samples of the linked dataset.")] = 40_000,
) -> None:
    """Measure all bars, or some of them; exit code 1 if one is not met."""
    if unknown := set(only or []) - set(BARS):
        raise typer.BadParameter(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BARS)}")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    bars = []
    with tempfile.TemporaryDirectory() as folder:
        draw_scenes(Path(folder, "project"))
        print(f"{platform.processor() or platform.machine()}, {cores()} cores\n", flush=True)
        print("| what | found | bar | met | sides |\n|---|---|---|---|---|", flush=True)
        for name in only or BARS:
            for bar in BARS[name](samples):
                bars.append(bar)
                print(bar, flush=True)
        os.chdir("/")
    sys.exit(not all(bar.holds for bar in bars))


if __name__ == "__main__":
    typer.run(main)

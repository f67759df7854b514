"""The recipe docs/add-a-task.md, followed to the letter in a copy of the code, makes a task that the stages know."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documents import blocks

pytestmark = pytest.mark.slow

CHECK = """
import shutil
import numpy as np
from pathlib import Path
from usd.data.shards import Shards
from usd.data.stream import TrainingStream
from usd.images import read_png
from usd.ingestion.ingest import Options, ingest
from usd.stages import annotate, shard, validate
from usd.tasks import TASKS

annotate.main(Path("scenes"), Path("annotated"))
validate.main(Path("scenes"), Path("annotated"), Path("validation"), Path("docs"))
shard.main(Path("scenes"), Path("annotated"), Path("validation"), Path("shards"))

made = sorted(Path("annotated/train").glob("*.posterize.png"))
image = read_png(Path("scenes/train") / made[0].name.replace("posterize", "image"))
assert np.array_equal(read_png(made[0]), image // 64 * 85)
tasks = (TASKS["image2posterize"], TASKS["posterize2image"])
packet = TrainingStream(Shards.open("shards")["train"], seed=0, batch_size=1, flip=0.0, tasks=tasks).packet(0)
assert np.array_equal(packet.pictures[1, 0].numpy(), packet.pictures[0, 0].numpy() // 64 * 85)

Path("mine").mkdir()
for path in (made[0], Path("scenes/train") / made[0].name.replace("posterize", "image")):
    shutil.copy(path, Path("mine") / f"mine{'.posterize' if path == made[0] else ''}.png")
ingest(Path("mine"), Path("ingested"), Options(size=64))
(brought,) = Path("ingested").rglob("*.posterize.png")
assert np.array_equal(read_png(brought), read_png(made[0]))
"""


def insert(file: Path, text: str, before: str) -> None:
    code = file.read_text()
    assert before in code
    file.write_text(code.replace(before, text + before, 1))


def test_a_task_is_a_row_and_a_function(tiny: Path, tmp_path: Path) -> None:
    row, function = (block.text for block in blocks("python") if block.page.name == "add-a-task.md")
    shutil.copytree(ROOT / "usd", tmp_path / "usd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tiny / "scenes", tmp_path / "scenes")
    shutil.copy(tiny / "params.yaml", tmp_path)
    insert(tmp_path / "usd/tasks.py", f"{row.strip()}, ", before='Map("hed"')
    insert(tmp_path / "usd/annotators/maps.py", f"{function}\n\n", before="DERIVE: dict")
    insert(tmp_path / "usd/annotators/maps.py", '"posterize": posterize, ', before='"hed": hed,')
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", CHECK]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

"""A tiny dataset, made once by the real stages, and the bundled base."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parent.parent
os.environ |= {
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "WANDB_MODE": "offline",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "PYTHONDONTWRITEBYTECODE": "",  # where it is set, each program that a test starts compiles its libraries anew
    "OMP_NUM_THREADS": "1",  # a thread for each of the two workers; more of them wait for one another
    "OMP_WAIT_POLICY": "passive",
}


EVALUATED = ("evaluation/test_evaluator.py", "reporting/test_gate.py", "reporting/test_report.py")
FIRST = ("test_smoke.py", "flows/", "test_frozen.py", "training/test_training.py", *EVALUATED)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that both workers end together; those that share a fixture one after another."""

    def rank(item: pytest.Item) -> int:
        file = item.path.relative_to(ROOT / "tests").as_posix()
        return next((place for place, name in enumerate(FIRST) if file.startswith(name)), len(FIRST))

    items.sort(key=rank)


class Files(LoadFileScheduling):
    """A file is one worker's; so are together those that share `evaluated`, or the Prefect server of the flows."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if file.startswith("tests/flows/"):
            return "flows"
        return "evaluated" if file.removeprefix("tests/") in EVALUATED else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files:
    """Who runs what, where there are several workers."""
    return Files(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m "not slow"` does not even import the files that are slow as a whole."""
    if config.option.markexpr != "not slow" or not collection_path.is_file():
        return None
    return "\npytestmark = pytest.mark.slow" in collection_path.read_text() or None


started: list[str] = []  # programs and servers, since the test began


def _listen(event: str, details: tuple[object, ...]) -> None:
    if event == "subprocess.Popen":
        started.append(str(details[1]))
    elif event == "socket.bind" and isinstance(details[1], tuple) and details[1][0] != "::1":  # urllib3 tries that one
        started.append(f"a server at {details[1]}")


sys.addaudithook(_listen)


@pytest.fixture(autouse=True)
def _keep_fast(request: pytest.FixtureRequest) -> Iterator[None]:
    """What starts programs or servers is marked `slow`, a file or a test, so that `make test-fast` leaves it out.

    So is what takes seconds, such as a run of Great Expectations.
    """
    started.clear()
    yield
    if not request.node.get_closest_marker("slow"):
        assert not started, (
            f"starts {started[0]}; mark it `@pytest.mark.slow`, or its file `pytestmark = pytest.mark.slow`"
        )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with the smoke parameters, `scenes`, `annotated` and `shards`; tests run inside it."""
    folder = tmp_path_factory.mktemp("tiny")
    draw_into(folder, {})
    return folder


def draw_into(folder: Path, rendered: dict[str, Any]) -> None:
    """Make params.yaml, `scenes`, `annotated` and `shards`; `rendered` changes section `render`."""
    from usd.config.profiles import apply, change
    from usd.stages import annotate, render, shard

    shutil.copy(ROOT / "params.yaml", folder)
    apply(ROOT / "profiles" / "smoke.yaml", folder / "params.yaml")
    before = Path.cwd()
    os.chdir(folder)
    change([{"render": rendered}] if rendered else [])
    render.main(Path("scenes"))
    annotate.main(Path("scenes"), Path("annotated"))
    Path("validation").mkdir()
    Path("validation/summary.json").write_text('{"success": true}')
    shard.main(Path("scenes"), Path("annotated"), Path("validation"), Path("shards"))
    os.chdir(before)


@pytest.fixture
def inside_tiny(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny project folder as working directory; not to be changed."""
    monkeypatch.chdir(tiny)
    return tiny


@pytest.fixture
def trainable(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project with untrained annotators, base and start in place, as working directory."""
    from accelerate.state import AcceleratorState

    shutil.copytree(tiny / "shards", tmp_path / "shards")
    for model in ("base", "control"):
        shutil.copytree(ROOT / "models" / model, tmp_path / "models" / model)
    shutil.copy(tiny / "params.yaml", tmp_path)
    write_annotators(tmp_path / "annotators")
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state(reset_partial_state=True)  # a process keeps one device
    return tmp_path


def write_annotators(folder: Path) -> Path:
    """Untrained annotators, as stage `annotators` writes them."""
    from safetensors.torch import save_file

    from usd.annotators.bundled import PerceptionNet

    folder.mkdir()
    net = PerceptionNet([8, 16])
    save_file(net.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(net.config))
    return folder


@contextmanager
def written_elsewhere(target: Path) -> Iterator[None]:
    """While the block runs, another process is the sole writer of `target`."""
    from usd.files import sole_writer

    go, begun = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        with sole_writer(target):
            os.write(begun[1], b"1")
            os.read(go[0], 1)
        os._exit(0)
    os.read(begun[0], 1)
    try:
        yield
    finally:
        os.write(go[1], b"1")
        os.waitpid(child, 0)


@pytest.fixture
def base():
    """The bundled base, frozen."""
    from usd.model.base import load_base

    return load_base(str(ROOT / "models" / "base")).freeze()


@pytest.fixture
def pipeline(base):
    """An untrained US-Diffusion on the bundled base whose control branch is not at zero, so that all inputs matter."""
    return untrained(base, "us_diffusion")


def untrained(base, variant: str):
    """A pipeline of the variant with random weights where training starts at zero."""
    from dataclasses import replace

    import torch

    from usd import config
    from usd.training.finetune import new_denoiser

    params = config.load(ROOT / "params.yaml")
    denoiser = new_denoiser(base, params.variants[variant], replace(params.train, warm_start=config.NO_START))
    torch.manual_seed(0)
    readers = (denoiser.adapter.example, denoiser.adapter.query)
    for module in [reader.out for reader in readers if reader is not None]:
        torch.nn.init.normal_(module.weight, std=0.2)
    for zero in denoiser.control.controlnet_down_blocks:
        torch.nn.init.normal_(zero.weight, std=0.2)
    return pipeline_of(base, denoiser)


def pipeline_of(base: Any, denoiser: Any) -> Any:
    """The pipeline of a base and what has been trained on it."""
    from usd.inference.pipeline import USDiffusionPipeline

    parts = {name: getattr(base, name) for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
    return USDiffusionPipeline(**parts, unet=denoiser.unet, control=denoiser.control, adapter=denoiser.adapter)


@pytest.fixture(scope="session")
def address() -> Iterator[tuple[str, int]]:
    """Host and port of an S3-compatible server."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running.get_host_and_port()
    running.stop()


@pytest.fixture
def bucket(address: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a bucket, and an environment that leads there."""
    import fsspec

    for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    connect(monkeypatch, *address)
    fsspec.filesystem("s3").makedirs("usd", exist_ok=True)
    return "s3://usd"


def connect(monkeypatch: pytest.MonkeyPatch, host: str, port: int) -> None:
    """Send S3 requests there from now on."""
    import fsspec

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="session")
def evaluated(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `results` with the real evaluation of both untrained variants and the yardsticks; not to be changed."""
    from dataclasses import replace

    from usd import config
    from usd.annotators.bundled import soft_edges
    from usd.config.training import VARIANTS
    from usd.data.shards import Shards
    from usd.evaluation.evaluator import Evaluator, Measure
    from usd.evaluation.files import write_evaluation, write_replicates
    from usd.evaluation.manifest import Samples, mean_maps
    from usd.evaluation.variant import evaluate_variant
    from usd.evaluation.yardsticks import Yardsticks
    from usd.model.base import load_base

    folder = tmp_path_factory.mktemp("evaluated") / "results"
    everything = config.load(tiny / "params.yaml")
    counts = {"items": 4, "curve_items": 3, "unseen_items": 2, "validation_items": 2, "grid_items": 2, "replicates": 10}
    params = replace(everything.evaluate, guidance_scales=[1.0], **counts)
    shards = Shards.open(tiny / "shards")
    splits = {name: Samples(shards[name]) for name in ("train", "val", "test")}
    measure = Measure(mean_maps(shards), {"hed": soft_edges})
    for name in VARIANTS:
        base = load_base(str(ROOT / "models" / "base")).freeze()
        evaluator = Evaluator(untrained(base, name), everything.variants[name].timesteps, 3, params, measure)
        (folder / name).mkdir(parents=True)
        write_evaluation(evaluate_variant(evaluator, splits["val"], splits["test"], folder / name), folder / name)
    yardsticks = Yardsticks(params, measure)
    yardsticks.answer(base, splits["test"], splits["train"])
    control = Evaluator(untrained(base, "control"), "ess", 3, params, measure)
    yardsticks.answer_by_control(control, splits["val"], splits["test"])
    (folder / "yardsticks").mkdir()
    (folder / "yardsticks/yardsticks.json").write_text(json.dumps(yardsticks.rows))
    write_replicates(yardsticks.replicates, folder / "yardsticks/bootstrap.csv")
    for name in ("curves", "study"):
        shutil.copytree(ROOT / "results" / name, folder / name)
    shutil.copy(ROOT / "results/benchmark.json", folder)
    return folder

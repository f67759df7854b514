"""The work of a stage as tasks, here and on Dask workers."""

from pathlib import Path

import pytest

from tests.flows.project import api, run, tasks_of
from usd.errors import UsdError

pytestmark = pytest.mark.slow


def test_the_work_of_a_stage_fans_out_over_tasks(inside: Path, dask: str) -> None:
    from flows.pipeline import reproduce

    parts = {f"render {number}/5" for number in range(1, 6)}  # of 8 items each
    for scheduler in (None, dask):
        Path(".usd/spread-render").touch()
        state = run(reproduce, targets=["render"], force=True, dask=scheduler)
        assert tasks_of(state, 6).keys() == {"render"} | parts


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prefect_dask", reason="prefect-dask, the extra `dask`, is not installed")
    from flows import fanout

    monkeypatch.setenv(fanout.CLUSTER, "tcp://127.0.0.1:9")
    with pytest.raises(UsdError, match=r"no scheduler at tcp://127\.0\.0\.1:9"):
        fanout._task_runner()


@pytest.mark.usefixtures("serving")
def test_dask_workers_render_annotate_and_shard_the_same_bytes(
    inside_tiny: Path, dask: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.fanout import environment
    from flows.pipeline import reproduce
    from usd.stages import annotate, render, shard

    with api() as client:
        flow_run = client.create_flow_run(reproduce)
    monkeypatch.setattr("prefect.runtime.flow_run.id", str(flow_run.id), raising=False)
    for name, value in environment(dask).items():
        monkeypatch.setenv(name, value)
    scenes, annotated, shards = (tmp_path / name for name in ("scenes", "annotated", "shards"))
    render.main(scenes)
    annotate.main(scenes, annotated)
    shard.main(scenes, annotated, Path("validation"), shards)
    with api() as client:
        assert {task.name.split()[0] for task in client.read_task_runs()} >= {"render", "annotate", "shard"}
    for path in (path for folder in ("scenes", "annotated", "shards") for path in Path(folder).rglob("*.*")):
        assert path.read_bytes() == (tmp_path / path).read_bytes(), path

"""Work over processes and over a Dask cluster: the same bytes."""

from pathlib import Path

import pytest

from usd.data.parallel import CLUSTER, parallel_map
from usd.errors import UsdError
from usd.stages import annotate


def half(number: int) -> int:
    if number % 2:
        raise UsdError(f"{number} is odd")
    return number // 2


def test_results_come_in_order_and_the_first_error_ends_it() -> None:
    assert list(parallel_map(half, range(0, 100, 2), "half", workers=2, chunk=3)) == list(range(50))
    with pytest.raises(UsdError, match="3 is odd"):
        list(parallel_map(half, [0, 2, 3, 4], "half", workers=2, chunk=1))


def test_a_dask_cluster_annotates_to_the_same_bytes(
    inside_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.setenv(CLUSTER, cluster.scheduler_address)
        annotate.main(Path("scenes"), tmp_path / "annotated")
    for path in Path("annotated").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "annotated" / path.relative_to("annotated")).read_bytes()


def test_a_missing_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CLUSTER, "tcp://127.0.0.1:9")
    with pytest.raises(UsdError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        list(parallel_map(half, [2], "half"))

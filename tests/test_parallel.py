"""Work over processes; tests/test_flows.py has it over Prefect tasks."""

import pytest

from usd.errors import UsdError
from usd.parallel import parallel_map


def half(number: int) -> int:
    if number % 2:
        raise UsdError(f"{number} is odd")
    return number // 2


def test_results_come_in_order_and_the_first_error_ends_it() -> None:
    assert list(parallel_map(half, range(0, 100, 2), "half", chunk=3)) == list(range(50))
    with pytest.raises(UsdError, match="3 is odd"):
        list(parallel_map(half, [0, 2, 3, 4], "half", chunk=1))

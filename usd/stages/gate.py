"""Stage `gate`: exit ≠ 0 if the metrics miss a threshold of params.yaml. It runs last, so the report can be read."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from usd import config
from usd.data.record import atomic_write
from usd.errors import UsdError
from usd.stages import run
from usd.verdict import judge


def main(results: Path, out: Path) -> None:
    """Judge RESULTS and print the table; the verdicts go to OUT."""
    checks = judge(results, config.load().gate)
    table = Table("check", "value", "bound", "verdict", title="gate")
    for check in checks:
        table.add_row(check.name, f"{check.value:.4f}", check.bound, "passed" if check.passed else "[red]FAILED")
    Console().print(table)
    failed = [f"{check.name} = {check.value:g}, wanted {check.bound}" for check in checks if not check.passed]
    if failed:
        out.unlink(missing_ok=True)  # an earlier verdict
        raise UsdError("gate: " + "; ".join(failed) + f"; see {results / 'report.md'}")
    atomic_write(out, json.dumps({check.name: "passed" for check in checks}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run(main)

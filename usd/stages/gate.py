"""Stage `gate`: exit ≠ 0 if the metrics miss a threshold of params.yaml. It runs last, so the report can be read."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from usd import config
from usd.errors import UsdError
from usd.evaluation.gate import judge, read_metrics
from usd.files import atomic_write, read_json
from usd.stages import run


def main(results: Path, out: Path) -> None:
    """Judge RESULTS and print the table; the verdicts go to OUT."""
    checks = judge(read_metrics(results), read_json(results / "benchmark.json"), config.load().gate)
    table = Table("check", "value", "bound", "verdict", title="gate")
    for check in checks:
        table.add_row(check.name, f"{check.value:.4f}", check.bound, "passed" if check.passed else "[red]FAILED")
    Console().print(table)
    verdicts = {check.name: "passed" if check.passed else "failed" for check in checks}
    atomic_write(out, json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n")
    failed = [f"{check.name} = {check.value:g}, wanted {check.bound}" for check in checks if not check.passed]
    if failed:
        raise UsdError("gate: " + "; ".join(failed) + f"; see {results / 'report.md'}")


if __name__ == "__main__":
    run(main)

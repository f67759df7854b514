"""Stage `gate`: exit ≠ 0 if the metrics miss a threshold of params.yaml. It runs last, so the report can be read."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from usd import config
from usd.errors import UsdError
from usd.files import atomic_write, read_json
from usd.reporting.comparison import Comparison
from usd.reporting.gate import SPEEDUP, judge
from usd.reporting.targets import Target, targets
from usd.stages import run


def main(results: Path, out: Path) -> None:
    """Judge RESULTS and print checks and targets; the verdicts on the checks go to OUT."""
    gate, benchmark = config.load().gate, read_json(results / "benchmark.json")
    found = Comparison.read(results)
    checks = judge(found.metrics, benchmark, gate)
    speed = benchmark["speedup_end_to_end"]
    paper = Target(SPEEDUP, f"≥ {gate.target_speedup:g}", f"{speed:g}", speed >= gate.target_speedup)
    aims = [paper, *targets(found, gate)]
    table = Table("check", "value", "bound", "verdict", title="gate")
    for check in checks:
        table.add_row(check.name, f"{check.value:.4f}", check.bound, "passed" if check.passed else "[red]FAILED")
    goals = Table("target", "found", "wanted", "verdict", title="targets, which decide nothing here")
    for aim in aims:
        goals.add_row(aim.name, aim.found, aim.wanted, "met" if aim.met else "[yellow]missed")
    Console().print(goals, table, f"All tables, pictures and intervals: {results / 'report.html'}", sep="\n")
    verdicts = {check.name: "passed" if check.passed else "failed" for check in checks}
    atomic_write(out, json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n")
    failed = [f"{check.name} is {check.value:.4g}, wanted {check.bound}" for check in checks if not check.passed]
    if failed:
        raise UsdError(
            f"gate: {len(failed)} of {len(checks)} checks failed: {'; '.join(failed)}; see {results}/report.md"
        )


if __name__ == "__main__":
    run(main)

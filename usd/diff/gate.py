"""Which checks of the gate the results of two revisions pass, each against the thresholds of its own params.yaml."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from usd import config
from usd.config.training import OURS, VARIANTS
from usd.diff.layout import NONE, Section, Table, became
from usd.diff.revision import MALFORMED, Revision
from usd.diff.scores import is_number, read_scores
from usd.errors import UsdError
from usd.reporting.gate import Check, judge
from usd.tasks import DIRECTIONS

SCORES = {name: f"results/{name}/metrics.json" for name in VARIANTS}
BENCHMARK = "results/benchmark.json"


@dataclass(frozen=True)
class Judgement:
    """The checks of one revision by name; if there are none, `why` says why it cannot be judged."""

    label: str  # of the revision
    checks: dict[str, Check]
    why: str = ""


@dataclass(frozen=True)
class CheckChange:
    """One check at both revisions; None where it is not made."""

    name: str
    before: Check | None
    after: Check | None

    @property
    def verdict(self) -> str:
        """One of: newly fails, still fails, fixed, gone, passes."""
        if self.after is None:
            return "gone"
        return became(self.before.passed if self.before else None, self.after.passed)


@dataclass(frozen=True)
class GatePart:
    """The gate at both revisions."""

    title: ClassVar[str] = "Gate"

    before: Judgement
    after: Judgement

    @property
    def changes(self) -> list[CheckChange]:
        """Every check that either revision makes, in the order of the gate."""
        names = dict.fromkeys((*self.after.checks, *self.before.checks))
        return [CheckChange(name, self.before.checks.get(name), self.after.checks.get(name)) for name in names]

    @property
    def summary(self) -> str:
        """How many verdicts changed; empty if no value, bound or verdict did."""
        if repr(self.before.checks) == repr(self.after.checks):  # by its text NaN equals NaN
            return ""
        if not self.after.checks:
            return "no longer judged"
        counted = Counter(change.verdict for change in self.changes)
        told = ", ".join(f"{counted[name]} {name}" for name in ("newly fails", "fixed", "gone") if counted[name])
        return told or ("values moved, same verdicts" if self.before.checks else "judged for the first time")

    @property
    def regressions(self) -> list[str]:
        """Checks that newly fail, and checks that passed and are no longer made."""
        found = [f"gate newly fails: {change.name}" for change in self.changes if change.verdict == "newly fails"]
        if self.after.checks:
            return found + [f"gate no longer checks: {change.name}" for change in self.changes if not change.after]
        passed = any(check.passed for check in self.before.checks.values())
        return [f"the gate can no longer be judged: {self.after.why}"] if passed else []

    def section(self) -> Section | None:
        """A row for each check; those that pass are folded."""
        if not self.summary:
            return None
        unjudged = [each for each in (self.before, self.after) if each.why]
        notes = [f"At {each.label} the gate cannot be judged: {each.why}." for each in unjudged]
        rows: dict[bool, list[list[str]]] = {False: [], True: []}
        for change in self.changes:
            sides = [f"{check.value:g} ({check.bound})" if check else NONE for check in (change.before, change.after)]
            rows[change.verdict == "passes"].append([change.name, *sides, change.verdict])
        titles = {False: "Failing, fixed and gone", True: "Passing"}
        head = ["check", "before (bound)", "after (bound)", "verdict"]
        tables = [Table(titles[passes], head, found, 0, folded=passes) for passes, found in rows.items() if found]
        return Section(self.title, self.summary, notes, tables)


def compare(base: Revision, head: Revision) -> GatePart:
    """Judge both revisions with today's checks.

    Raises:
        UsdError: a file cannot be read.
    """
    return GatePart(_judge(base), _judge(head))


def _judge(revision: Revision) -> Judgement:
    missing = [path for path in (*SCORES.values(), BENCHMARK) if path not in revision.blobs]
    if missing:
        return Judgement(revision.label, {}, f"{', '.join(missing)} is not there")
    try:
        thresholds = config.build(config.Gate, revision.yaml(str(config.PARAMS)).get("gate"), "params.yaml: gate")
    except UsdError as error:
        return Judgement(revision.label, {}, "; ".join(str(error).splitlines()))
    metrics = {name: read_scores(revision, path) for name, path in SCORES.items()}
    benchmark = revision.json(BENCHMARK)
    if lacking := _lacking(metrics, benchmark):
        return Judgement(revision.label, {}, lacking)
    try:
        checks = judge(metrics, benchmark, thresholds)
    except MALFORMED as error:
        return Judgement(revision.label, {}, f"{SCORES[OURS]} lacks a metric that the gate needs ({error!r})")
    return Judgement(revision.label, {check.name: check for check in checks})


def _lacking(metrics: dict[str, dict[str, Any]], benchmark: Any) -> str:
    """What of either variant or of the benchmark is not there, with its file; empty if all is."""
    for name, path in SCORES.items():
        row: dict[str, Any] = next(iter(metrics[name].get("paper", {}).values()), {})
        if not row.keys() >= set(DIRECTIONS):
            return f"{path} lacks a row of both directions below the key paper"
    speedup = benchmark.get("speedup_end_to_end") if isinstance(benchmark, dict) else None
    return "" if is_number(speedup) else f"{BENCHMARK} lacks a number at the key speedup_end_to_end"

"""Which checks of the gate the results of two revisions pass, each against the thresholds of its own params.yaml."""

from collections import Counter
from dataclasses import dataclass

from usd import config
from usd.diff.revision import Revision
from usd.errors import UsdError
from usd.evaluation.gate import VARIANTS, Check, judge

FILES = (*(f"results/{name}/metrics.json" for name in VARIANTS), "results/benchmark.json")


@dataclass(frozen=True)
class Judgement:
    """The checks of one revision by name; if there are none, `why` says why it cannot be judged."""

    checks: dict[str, Check]
    why: str = ""


@dataclass(frozen=True)
class Pair:
    """One check at both revisions; None where it is not made."""

    name: str
    before: Check | None
    after: Check | None

    @property
    def verdict(self) -> str:
        """One of: newly fails, still fails, fixed, gone, passes."""
        if self.after is None:
            return "gone"
        if not self.after.passed:
            return "still fails" if self.before and not self.before.passed else "newly fails"
        return "fixed" if self.before and not self.before.passed else "passes"


@dataclass(frozen=True)
class Gate:
    """The gate at both revisions."""

    before: Judgement
    after: Judgement

    @property
    def pairs(self) -> list[Pair]:
        """Every check that either revision makes, in the order of the gate."""
        names = dict.fromkeys((*self.after.checks, *self.before.checks))
        return [Pair(name, self.before.checks.get(name), self.after.checks.get(name)) for name in names]

    @property
    def newly_failing(self) -> list[str]:
        """Checks that fail and did not fail before, be it that they were not made."""
        return [pair.name for pair in self.pairs if pair.verdict == "newly fails"]

    @property
    def lost(self) -> bool:
        """Whether a check passed before, and now none can be made."""
        return not self.after.checks and any(check.passed for check in self.before.checks.values())

    @property
    def in_words(self) -> str:
        """What changed, in short; empty if no value, bound or verdict did."""
        if self.before.checks == self.after.checks:
            return ""
        if not self.after.checks:
            return "no longer judged"
        counted = Counter(pair.verdict for pair in self.pairs)
        told = ", ".join(f"{counted[name]} {name}" for name in ("newly fails", "fixed", "gone") if counted[name])
        return told or ("values moved, same verdicts" if self.before.checks else "judged for the first time")


def compare(base: Revision, head: Revision) -> Gate:
    """Judge both revisions with today's checks."""
    return Gate(_judge(base), _judge(head))


def _judge(revision: Revision) -> Judgement:
    missing = [path for path in FILES if revision.json(path) is None]
    if missing:
        return Judgement({}, f"{', '.join(missing)} is not there")
    try:
        thresholds = config.build(config.Gate, revision.yaml(str(config.PARAMS)).get("gate"), "params.yaml: gate")
    except UsdError as error:
        return Judgement({}, str(error))
    *metrics, benchmark = (revision.json(path) for path in FILES)
    try:
        checks = judge(dict(zip(VARIANTS, metrics, strict=True)), benchmark, thresholds)
    except (KeyError, TypeError, AttributeError) as error:
        return Judgement({}, f"a metric that the gate needs is not there ({error!r})")
    return Judgement({check.name: check for check in checks})

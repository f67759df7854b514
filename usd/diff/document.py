"""A comparison laid out as headline, sections, tables and pictures, for any format."""

from dataclasses import dataclass, field

from usd.diff import data, stages
from usd.diff.cache import Pair, thumbnails
from usd.diff.comparison import Comparison
from usd.diff.metrics import Change
from usd.diff.validation import Spread

SHOWN = 12  # samples with pictures, per kind of change
REASONS = 4  # that are told of a stage
NONE = "—"
MEASURED = (
    "Noise is the range over the seeds of the ablation; a metric that it does not measure gets the widest range of the "
    "means over the trained tasks, as a share of its value."
)
UNMEASURED = "There is no ablation over seeds, so the noise is not known and every change counts."


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first `code` columns hold names out of files, which are shown as they are."""

    title: str
    head: list[str]
    rows: list[list[str]]
    code: int = 1
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """One part of the project."""

    title: str
    words: str  # what changed, in short
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    gallery: str = ""  # title of the pairs
    pairs: list[Pair] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    """All that is shown; no dates, so that the same revisions give the same bytes."""

    base: str
    head: str
    changed: dict[str, str]  # part → what changed
    unchanged: list[str]
    regressions: list[str]
    sections: list[Section]

    @property
    def headline(self) -> str:
        """One line: no change, or what changed."""
        if not self.changed:
            return f"No change of data, parameters, metrics, figures or stages from {self.base} to {self.head}."
        words = "; ".join(f"{part}: {found}" for part, found in self.changed.items())
        return f"Changed from {self.base} to {self.head}: {words}."


def lay_out(comparison: Comparison) -> Document:
    """Sections for the parts that changed, and for stages that are out of date."""
    parts = comparison.parts
    layouts = {
        "parameters": _parameters,
        "data": _data,
        "validation": _validation,
        "metrics": _metrics,
        "gate": _gate,
        "figures": _figures,
        "stages": _stages,
    }
    sections = [layouts[part](comparison, words) for part, words in parts.items() if words]
    if not parts["stages"] and comparison.plan.reruns:
        sections.append(_stages(comparison, "none more than before"))
    if not parts["validation"] and comparison.verdicts.failing:
        sections.append(_validation(comparison, "failing as before"))
    return Document(
        base=comparison.base.label,
        head=comparison.head.label,
        changed={part: words for part, words in parts.items() if words},
        unchanged=[part for part, words in parts.items() if not words],
        regressions=comparison.regressions,
        sections=sections,
    )


def _parameters(comparison: Comparison, words: str) -> Section:
    rows = [[change.key, change.before or NONE, change.after or NONE] for change in comparison.parameters]
    return Section("Parameters", words, tables=[Table("", ["parameter", "before", "after"], rows, code=3)])


def _data(comparison: Comparison, words: str) -> Section:
    samples = comparison.samples
    notes = [f"The keys of the samples are not known at {' and '.join(samples.unlisted)}."] if samples.unlisted else []
    tables = [_counts(samples.counts)]
    tables += [_drifts("This version against the last", samples.drifts)]
    flagged = [drift for drift in samples.split_drifts if drift.flagged]
    tables += [_drifts("Train against test", flagged)] if flagged else []
    if samples.split_drifts and not flagged:
        notes.append(f"Train and test agree: nothing is further apart than {data.DRIFT:g} standard deviations.")
    pairs = []
    if samples.keys is not None:
        kinds = {"added": samples.keys.added, "removed": samples.keys.removed, "changed": samples.keys.changed}
        for word, keys in kinds.items():
            tables.append(Table(f"Samples {word}: {len(keys)}", ["key"], [[key] for key in keys], folded=True))
            pairs += thumbnails(*samples.pictures, keys[:SHOWN])
    tables = [table for table in tables if table.rows]
    return Section("Data", words, notes, tables, "Samples before and after", pairs)


def _counts(counts: list[data.Count]) -> Table:
    by_task: dict[str, dict[str, str]] = {}
    for count in counts:
        same = count.before == count.after
        before, after = (NONE if number is None else str(number) for number in (count.before, count.after))
        by_task.setdefault(count.task, {})[count.split] = after if same else f"{before} → {after}"
    splits = list(dict.fromkeys(count.split for count in counts))
    rows = [[task, *(cells.get(split, NONE) for split in splits)] for task, cells in by_task.items()]
    moved = any(count.before != count.after for count in counts)
    return Table("Samples by task and split", ["task", *splits], rows, folded=not moved)


def _drifts(title: str, drifts: list[data.Drift]) -> Table:
    def cell(spread: Spread) -> str:
        return f"{spread.mean:g} ± {spread.std:.3g}"

    rows = [
        [d.quantity, d.where, cell(d.before), cell(d.after), f"{d.share:.2f}", "moved far" if d.flagged else ""]
        for d in drifts
    ]
    head = ["quantity", "split", "before", "after", "shift / deviation", f"flagged above {data.DRIFT:g}"]
    if any(drift.where not in ("train", "val", "test") for drift in drifts):
        head[2:4] = ["train", "test"]
    return Table(title, head, rows, 0, folded=not any(drift.flagged for drift in drifts))


def _validation(comparison: Comparison, words: str) -> Section:
    verdicts = comparison.verdicts
    rows = [[name, "newly fails" if name in verdicts.newly_failing else "still fails"] for name in verdicts.failing]
    rows += [[name, "fixed"] for name in verdicts.fixed]
    rows += [[name, "no longer checked"] for name in verdicts.unchecked]
    notes = ["The summary is gone."] if verdicts.gone else []
    return Section("Validation", words, notes, [Table("", ["expectation", "verdict"], rows, 0)] if rows else [])


def _metrics(comparison: Comparison, words: str) -> Section:
    def table(title: str, verdicts: tuple[str, ...], folded: bool) -> list[Table]:
        found = [change for verdict in verdicts for change in comparison.metrics if change.verdict == verdict]
        head = ["variant", "task", "metric", "better", "before", "after", "difference", "noise", "verdict"]
        return [Table(title, head, [_metric(change) for change in found], 3, folded)] if found else []

    notes = [f"{path} is gone." for path in comparison.lost_metrics.values()]
    judged = [change for change in comparison.metrics if change.verdict in ("worse", "better", "within noise")]
    if judged:
        notes.append(MEASURED if any(change.floor is not None for change in judged) else UNMEASURED)
    tables = table("Worse and better", ("worse", "better"), False)
    tables += table("Within noise", ("within noise",), True)
    tables += table("Numbers that are no score", ("changed",), True) + table("New", ("new",), True)
    return Section("Metrics", words, notes, tables + table("Gone", ("gone",), True))


def _metric(change: Change) -> list[str]:
    both = change.before is not None and change.after is not None
    difference = f"{change.after - change.before:+.4g}" if both else NONE  # type: ignore[operator]
    noise = "unknown" if change.floor is None else f"{change.floor:.3g}"
    return [
        change.variant,
        change.task,
        change.metric,
        change.direction or NONE,
        *(NONE if value is None else f"{value:g}" for value in (change.before, change.after)),
        difference,
        noise if change.direction and both else NONE,
        change.verdict,
    ]


def _gate(comparison: Comparison, words: str) -> Section:
    gate = comparison.gate
    notes = [
        f"At {label} the gate cannot be judged: {judgement.why}."
        for label, judgement in ((comparison.base.label, gate.before), (comparison.head.label, gate.after))
        if judgement.why
    ]
    rows: dict[bool, list[list[str]]] = {False: [], True: []}
    for pair in gate.pairs:
        sides = [f"{check.value:g} ({check.bound})" if check else NONE for check in (pair.before, pair.after)]
        rows[pair.verdict == "passes"].append([pair.name, *sides, pair.verdict])
    titles = {False: "Failing, fixed and gone", True: "Passing"}
    head = ["check", "before (bound)", "after (bound)", "verdict"]
    tables = [Table(titles[passes], head, found, 0, folded=passes) for passes, found in rows.items() if found]
    return Section("Gate", words, notes, tables)


def _figures(comparison: Comparison, words: str) -> Section:
    return Section("Figures", words, gallery="Before and after", pairs=comparison.figures)


def _stages(comparison: Comparison, words: str) -> Section:
    def row(rerun: stages.Rerun) -> list[str]:
        why = "; ".join(rerun.reasons[:REASONS]) or f"after {', '.join(rerun.after)}"
        more = len(rerun.reasons) - REASONS
        return [rerun.name, why + (f"; and {more} more" if more > 0 else "")]

    plan, new = comparison.plan, comparison.new_reruns
    now = [row(rerun) for rerun in plan.reruns if rerun.name in new]
    before = [row(rerun) for rerun in plan.reruns if rerun.name not in new]
    frozen = [row(rerun) for rerun in plan.frozen]
    head = ["stage", "why"]
    tables = [Table("", head, now), Table("Out of date before this change already", head, before, folded=True)]
    tables.append(Table("Frozen: out of date, but not run", head, frozen, folded=True))
    notes = [
        "What dvc repro will run; a stage whose inputs come out the same is skipped. Until then the committed results "
        "of these stages are of an earlier state."
    ]
    return Section("Stages", words, notes, [table for table in tables if table.rows])

"""Which stages `dvc repro` will run at both revisions.

It need not run all that follow: a stage whose inputs come out the same as before is skipped.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import ClassVar

from usd.diff.dag import StageInput, StageOutput, StageRecord, read_stages
from usd.diff.layout import Section, Table
from usd.diff.revision import Revision

REASONS = 4  # that are told of a stage
NOTE = (
    "What dvc repro will run; a stage whose inputs come out the same is skipped. Until then, the committed results of "
    "these stages belong to an earlier state of the project."
)


@dataclass(frozen=True)
class Rerun:
    """A stage that will run: for reasons of its own, or after others."""

    name: str
    reasons: list[str]
    after: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What `dvc repro` will do at a revision, in the order of dvc.yaml."""

    reruns: list[Rerun]
    frozen: list[Rerun]  # out of date, but not run


@dataclass(frozen=True)
class StagesPart:
    """What `dvc repro` will do at both revisions."""

    title: ClassVar[str] = "Stages"

    before: Plan
    after: Plan
    added: list[str] = field(default_factory=list)  # stages, and data of .dvc files, of the later revision only
    removed: list[str] = field(default_factory=list)  # of the earlier revision only
    gone: bool = False  # whether there was a stage and is none any more

    @property
    def new(self) -> list[str]:
        """Stages that will run at the later revision and were up to date at the earlier one."""
        old = {rerun.name for rerun in self.before.reruns}
        return [rerun.name for rerun in self.after.reruns if rerun.name not in old]

    @property
    def summary(self) -> str:
        """How many stages differ, by what about them does."""
        counted = {"more to rerun": self.new, "more frozen and out of date": self._frozen, "new": self.added}
        counted |= {"removed": self.removed, "up to date again": self._done}
        return ", ".join(f"{len(names)} {word}" for word, names in counted.items() if names)

    @property
    def regressions(self) -> list[str]:
        """That no stage is left; to be out of date is not worse."""
        return ["no stage is left: dvc.yaml is gone or has none"] if self.gone else []

    def section(self) -> Section | None:
        """A row for each stage that is out of date, and why, and for each that is new, removed or up to date again."""
        if not (self.summary or self.after.reruns or self.after.frozen):
            return None
        head = ["stage", "why"]
        now = [_row(rerun) for rerun in self.after.reruns if rerun.name in self.new]
        earlier = [_row(rerun) for rerun in self.after.reruns if rerun.name not in self.new]
        frozen = [_row(rerun) for rerun in self.after.frozen]
        states = {"new": self.added, "removed": self.removed, "up to date again": self._done}
        listed = [[name, state] for state, names in states.items() for name in names]
        tables = [
            Table("", head, now),
            Table("New, removed and up to date again", ["stage", "state"], listed),
            Table("Out of date before this change already", head, earlier, folded=True),
            Table("Frozen: out of date, but not run", head, frozen, folded=True),
        ]
        summary = self.summary or "none more than before"
        notes = [NOTE] if self.after.reruns else []
        return Section(self.title, summary, notes, [table for table in tables if table.rows])

    @property
    def _done(self) -> list[str]:
        late = {rerun.name for rerun in (*self.after.reruns, *self.after.frozen)}
        return [rerun.name for rerun in self.before.reruns if rerun.name not in late.union(self.removed)]

    @property
    def _frozen(self) -> list[str]:
        old = {rerun.name for rerun in self.before.frozen}
        return [rerun.name for rerun in self.after.frozen if rerun.name not in old]


def compare(base: Revision, head: Revision) -> StagesPart:
    """Compare what is out of date at two revisions.

    Raises:
        UsdError: dvc.yaml or dvc.lock is not what DVC writes.
    """
    left, right = ({stage.name: stage.source for stage in read_stages(revision)} for revision in (base, head))
    added, removed = ([name for name in one if name not in other] for one, other in ((right, left), (left, right)))
    return StagesPart(plan(base), plan(head), added, removed, not all(left.values()) and all(right.values()))


def plan(revision: Revision) -> Plan:
    """The stages that are out of date, and all that follow.

    Raises:
        UsdError: dvc.yaml or dvc.lock is not what DVC writes.
    """
    stages = read_stages(revision)
    outs = {out.path: out for stage in stages for out in stage.outs}
    own = {stage.name: reasons(revision, stage, outs) for stage in stages}
    running = {stage.name for stage in stages if own[stage.name] and not stage.frozen}
    before: set[str] = set()
    while running != before:
        before = set(running)
        running |= {stage.name for stage in stages if not stage.frozen and _upstream(stage, stages, before)}
    return Plan(
        reruns=[Rerun(s.name, own[s.name], _upstream(s, stages, running)) for s in stages if s.name in running],
        frozen=[Rerun(s.name, own[s.name]) for s in stages if s.frozen and own[s.name]],
    )


def reasons(revision: Revision, stage: StageRecord, outs: dict[str, StageOutput]) -> list[str]:
    """Why a stage is out of date against dvc.lock; `outs` are those of all stages, by path."""
    if stage.source:
        return []
    if stage.always and not stage.frozen:
        return ["runs every time"]
    if not stage.locked:
        return ["not in dvc.lock"]
    found = ["its command changed"] if stage.command_changed else []
    found += [f"{each.path} {why}" for each in stage.inputs if (why := _input_differs(revision, each, outs))]
    found += stage.parameters
    for out in stage.outs:
        if out.recorded is None:
            found.append(f"{out.path} is a new output")
        elif not out.cached and (digest := md5(revision, out.path)) != out.recorded:
            found.append(f"{out.path} {'is not what it made' if digest else 'is missing'}")
    return found


def _input_differs(revision: Revision, each: StageInput, outs: dict[str, StageOutput]) -> str:
    """How a dependency differs from dvc.lock, in words; empty if it does not, or if that cannot be known from git."""
    if each.recorded is None:
        return "is a new dependency"
    if each.outside:
        return ""
    out = outs.get(each.path)
    digest = out.recorded if out and out.cached else md5(revision, each.path)
    if digest is None:
        return "" if any(_overlap(each.path, path) for path in outs) else "is missing"
    return "changed" if digest != each.recorded else ""


def md5(revision: Revision, path: str) -> str | None:
    """DVC's hash of a file or folder that git keeps, None where the revision does not have it."""
    data = revision.read(path)
    if data is not None:
        return hashlib.md5(data).hexdigest()
    files = revision.paths(path)
    if not files:
        return None
    rows = [{"md5": md5(revision, file), "relpath": file.removeprefix(f"{path}/")} for file in files]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode()).hexdigest() + ".dir"


def _upstream(stage: StageRecord, stages: tuple[StageRecord, ...], running: set[str]) -> list[str]:
    """The running stages that make something this stage depends on."""
    return [
        other.name
        for other in stages
        if other.name in running
        and any(_overlap(dependency.path, out.path) for dependency in stage.inputs for out in other.outs)
    ]


def _overlap(left: str, right: str) -> bool:
    return left == right or left.startswith(f"{right}/") or right.startswith(f"{left}/")


def _row(rerun: Rerun) -> list[str]:
    why = "; ".join(rerun.reasons[:REASONS]) or f"after {', '.join(rerun.after)}"
    more = len(rerun.reasons) - REASONS
    return [rerun.name, why + (f"; and {more} more" if more > 0 else "")]

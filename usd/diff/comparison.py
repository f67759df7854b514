"""Two revisions compared: everything that a reviewer is told, before it is laid out."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from usd.diff import data, figures, gate, metrics, parameters, stages, validation
from usd.diff.cache import Pair, Pictures, pictures
from usd.diff.revision import Revision, find
from usd.errors import UsdError

PROJECT = ("dvc.yaml", "params.yaml")


@dataclass(frozen=True)
class Samples:
    """The data at both revisions."""

    before: validation.Summary | None
    after: validation.Summary | None
    counts: list[data.Count]
    keys: data.Keys | None  # None where a revision does not list its samples
    unlisted: list[str]  # the revisions that do not
    drifts: list[data.Drift]  # this version against the last
    split_drifts: list[data.Drift]  # train against test, of this version
    pictures: tuple[Pictures, Pictures]

    @property
    def changed(self) -> bool:
        """Whether anything of the data differs."""
        digests = [summary.digest if summary else None for summary in (self.before, self.after)]
        recounted = any(count.before != count.after for count in self.counts)
        return digests[0] != digests[1] or recounted or bool(self.drifts) or bool(self.keys and self.keys.any)


@dataclass(frozen=True)
class Comparison:
    """All that changed from `base` to `head`."""

    base: Revision
    head: Revision
    parameters: list[parameters.Change]
    samples: Samples
    verdicts: validation.Verdicts
    metrics: list[metrics.Change]
    lost_metrics: dict[str, str]  # variant → its metrics file, if that is not there any more
    gate: gate.Gate
    figures: list[Pair]
    plan_before: stages.Plan
    plan: stages.Plan

    @property
    def new_reruns(self) -> list[str]:
        """Stages that will run at `head` and were up to date at `base`."""
        old = {rerun.name for rerun in self.plan_before.reruns}
        return [rerun.name for rerun in self.plan.reruns if rerun.name not in old]

    @property
    def regressions(self) -> list[str]:
        """What got worse: a metric beyond the noise, a check of the gate, an expectation on the data."""
        found = [f"validation newly fails: {name}" for name in self.verdicts.newly_failing]
        if self.verdicts.gone:
            found.append("the validation summary is gone")
        found += [f"validation no longer checks: {name}" for name in self.verdicts.unchecked]
        found += [f"gate newly fails: {name}" for name in self.gate.newly_failing]
        if self.gate.lost:
            found.append(f"the gate can no longer be judged: {self.gate.after.why}")
        if self.gate.after.checks:
            found += [f"gate no longer checks: {pair.name}" for pair in self.gate.pairs if pair.verdict == "gone"]
        found += [f"{path} is gone" for path in self.lost_metrics.values()]
        for each in self.metrics:
            what = f"{each.variant}, {each.task}: {each.metric}"
            if each.verdict == "worse":
                found.append(f"{what} {each.before:g} → {each.after:g}")
            elif each.verdict == "gone" and each.direction and each.variant not in self.lost_metrics:
                found.append(f"{what} is gone")
        return found

    @property
    def parts(self) -> dict[str, str]:
        """Part of the project → what changed in it, in a few words; empty where nothing did."""
        counted: Counter[str] = Counter(change.verdict for change in self.metrics)
        told = ("worse", "better", "within noise", "changed", "new", "gone")
        return {
            "parameters": f"{len(self.parameters)} changed" if self.parameters else "",
            "data": self._data_in_words() if self.samples.changed else "",
            "validation": self.verdicts.in_words,
            "metrics": ", ".join(f"{counted[name]} {name}" for name in told if counted[name]),
            "gate": self.gate.in_words,
            "figures": f"{len(self.figures)} changed" if self.figures else "",
            "stages": f"{len(self.new_reruns)} more to rerun" if self.new_reruns else "",
        }

    def _data_in_words(self) -> str:
        keys = self.samples.keys
        if keys is None or not keys.any:
            return "changed"
        named = {"added": keys.added, "removed": keys.removed, "changed": keys.changed}
        return ", ".join(f"{len(found)} {word}" for word, found in named.items() if found) + " samples"


def compare(base: str, head: str, root: Path) -> Comparison:
    """Compare two revisions of the project in `root`.

    Raises:
        UsdError: an unknown revision, or a file that cannot be read.
    """
    left, right = find(base, root), find(head, root)
    if not any(path in revision.blobs for revision in (left, right) for path in PROJECT):
        raise UsdError(f"{root}: neither revision has {' or '.join(PROJECT)}; run from the project's root")
    plan_before, plan = stages.plan(left), stages.plan(right)
    before, after = validation.read_summary(left), validation.read_summary(right)
    paths = [metrics.paths(revision) for revision in (left, right)]
    return Comparison(
        base=left,
        head=right,
        parameters=parameters.changed(left, right),
        samples=_samples(left, right, before, after),
        verdicts=validation.verdicts(before, after),
        metrics=metrics.changed(left, right),
        lost_metrics={variant: path for variant, path in paths[0].items() if variant not in paths[1]},
        gate=gate.compare(left, right),
        figures=figures.changed(left, right),
        plan_before=plan_before,
        plan=plan,
    )


def _samples(
    base: Revision, head: Revision, before: validation.Summary | None, after: validation.Summary | None
) -> Samples:
    left, right = data.digests(base), data.digests(head)
    listed = {base.label: left, head.label: right}
    return Samples(
        before=before,
        after=after,
        counts=data.counts(before, after),
        keys=data.keys(left, right) if left is not None and right is not None else None,
        unlisted=[label for label, found in listed.items() if found is None],
        drifts=data.drifts(before, after) if before and after else [],
        split_drifts=data.split_drifts(after) if after else [],
        pictures=(pictures(base), pictures(head)),
    )

"""Stage `study`: several training seeds of every variant. Frozen in dvc.yaml, its result in git."""

import json
import shutil
from pathlib import Path

from usd import config
from usd.files import atomic_directory, check_replaceable, read_json
from usd.reporting.page import page
from usd.reporting.plots import draw_quality
from usd.stages import RunDir, run
from usd.study.findings import Findings
from usd.study.report import study_markdown
from usd.study.runs import StudyRuns

TRIALS = "trials.csv"  # written by hand: the short trials by which the recipe was found
MARK = "study.json"


def main(
    shards: str, annotators: Path, judges: Path, control: Path, benchmark: Path, out: Path, run_dir: RunDir
) -> None:
    """Train and evaluate every variant with every seed; writes the page, study.json, runs.csv and a plot into OUT.

    JUDGES read the maps of generated images, CONTROL is the branch that variants start from, BENCHMARK has the speedup.
    RUN_DIR keeps finished runs and the checkpoint of the current one: run it again to go on.
    """
    mark = TRIALS if (out / TRIALS).is_file() else MARK
    check_replaceable(out, mark)
    params = config.load()
    speedup = read_json(benchmark)["speedup_end_to_end"]
    study = StudyRuns(shards, annotators, judges, control, run_dir)
    yardsticks = study.yardsticks()
    runs = {name: [study.run(name, seed) for seed in params.study.seeds] for name in params.study.variants}
    findings = Findings(runs, params.study.seeds, yardsticks, params.evaluate.seed)
    with atomic_directory(out, mark) as scratch:
        (scratch / MARK).write_text(json.dumps(findings.as_dict(speedup), indent=1) + "\n")
        findings.table().to_csv(scratch / "runs.csv", index=False, lineterminator="\n")
        draw_quality({name: [run.curve for run in each] for name, each in runs.items()}, scratch / "quality.png")
        text = study_markdown(findings, params, speedup)
        (scratch / "study.md").write_text(text)
        (scratch / "study.html").write_text(page(text, scratch, params.evaluate.grid_items))
        if (trials := out / TRIALS).exists():
            shutil.copy(trials, scratch)


if __name__ == "__main__":
    run(main)

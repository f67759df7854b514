"""How a stage ends, without a server."""

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("code", "output", "retried", "message"),
    [
        (255, "ERROR: failed to run: python, exited with -9", True, "killed by signal 9"),
        (255, "ERROR: failed to run: python, exited with 143", True, "killed by signal 15"),
        (137, "", True, "killed by signal 9"),  # DVC itself
        (255, "OSError: [Errno 5] Input/output error\nERROR: failed to reproduce: exited with 1", True, "Errno 5"),
        (255, "ERROR: 'models' is busy, it is being blocked by:", True, "busy"),
        (255, "error: gate: speedup = 3\nERROR: exited with 1", False, "gate: speedup = 3"),
        (255, "error: out: could not be written: Input/output error\nERROR: exited with 1", True, "not be written"),
        (255, "error: photos: Input/output error\nERROR: exited with 1", False, "photos"),  # a stage's own word
        (
            251,
            "ERROR: unknown 'train.ratee'.\n    object_type=dict",
            False,
            "status 251: ERROR: unknown 'train.ratee'.",
        ),
        (255, "ValueError: no\nERROR: failed to reproduce: exited with 1", False, "exit status 1: ValueError: no"),
    ],
)
def test_only_passing_faults_are_retried(code: int, output: str, retried: bool, message: str) -> None:
    from flows.processes import Finished
    from flows.stages import StageFailed, check_outcome, helped_by_retry

    with pytest.raises(StageFailed, match=message) as found:
        check_outcome("stage", Finished(code, output))
    assert helped_by_retry(found.value) == retried


@pytest.mark.parametrize(
    ("status", "signal"), [(0, 0), (1, 0), (128, 0), (137, 9), (192, 64), (193, 0), (255, 0), (-15, 15)]
)
def test_a_status_tells_of_a_signal(status: int, signal: int) -> None:
    from flows.processes import signal_of

    assert signal_of(status) == signal


def test_a_frozen_stage_without_its_outputs_is_an_error() -> None:
    from flows import processes, stages

    running = processes.Processes()
    with pytest.raises(stages.StageFailed, match="base: frozen, and models/base is missing: git restore it, or"):
        stages.keep_frozen.fn("base", (Path("models/base"),), running)
    with pytest.raises(processes.Stopped):
        running.check()

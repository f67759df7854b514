"""The benchmarks that no other test runs, at their smallest."""

import pytest

from benchmarks import memory, samplers


@pytest.mark.slow
def test_the_memory_of_a_training_step_is_computed() -> None:
    with memory.on_paper() as gauge:
        lasting, peak = memory.step(memory.parameters("cpu"), gauge)
    assert 0.01 < lasting < peak < 1  # GiB; docs/performance.md has the figures


def test_a_batch_is_doubled_while_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {8: 1.0, 16: 0.5, 32: 0.49, 64: 0.1}
    monkeypatch.setattr(samplers, "seconds", lambda pipeline, timesteps, size: times[size])
    assert samplers.saturated(None, 2048) == 16
    assert samplers.saturated(None, 16) == 16


def test_both_samplers_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(samplers, "SIDES", {"100 DDIM steps": [998, 500, 1], "ESS-10": [998]})
    samplers.main(turns=1, most=2)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[1:]] == ["| 1", "| 2"]
    assert all(float(cell.strip(" |")) > 0 for row in rows[1:] for cell in row[2:])

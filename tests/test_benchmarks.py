"""The benchmarks that no other test runs, at their smallest."""

from benchmarks import memory


def test_the_memory_of_a_training_step_is_computed() -> None:
    lasting, peak = memory.step(memory.parameters("cpu"))
    assert 0.01 < lasting < peak < 1  # GiB; docs/performance.md has the figures

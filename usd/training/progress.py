"""The progress bar of a training, and what its steps take."""

import time

from rich import progress as rich_progress
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

LINES = 20  # how many lines a log file gets, which shows no bar


class Progress(rich_progress.Progress):
    """A bar from step `start` to `total`, shown by the main process alone."""

    def __init__(self, title: str, start: int, total: int, shown: bool) -> None:
        columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        super().__init__(*columns, TextColumn("{task.fields[note]}"), disable=not shown)
        self.title, self.shown, self.done, self.total = title, shown, start, total
        self.bar = self.add_task(title, total=total, completed=start, note="")
        self.lap_began, self.lap_start, self.lap_waited = time.perf_counter(), start, 0.0
        self.step_began = self.lap_began

    def step_done(self, loss: float) -> None:
        """Count a step and show its loss and speed."""
        now = time.perf_counter()
        note = f"loss {loss:.4f} · {1 / (now - self.step_began):.2f} steps/s"
        self.done, self.step_began = self.done + 1, now
        self.update(self.bar, advance=1, note=note)
        if self.shown and self.done % max(1, self.total // LINES) == 0 and not self.console.is_terminal:
            print(f"{self.title} {self.done}/{self.total} · {note}", flush=True)

    def lap(self, waited: float) -> dict[str, float]:
        """Seconds per step since the last lap, and of these the seconds spent waiting for data.

        `waited` is the number of seconds waited since the start of the training.
        """
        now, steps = time.perf_counter(), max(1, self.done - self.lap_start)
        found = {"seconds_per_step": (now - self.lap_began) / steps, "waited": (waited - self.lap_waited) / steps}
        self.lap_began, self.lap_start, self.lap_waited = now, self.done, waited
        return found

"""Progress of a followed job: a live bar on a terminal, one line per change elsewhere."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column

from charrnn.errors import counted
from charrnn.jobs.job.part import SamplingProgress
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.views import JobStatus
from charrnn.training.progress import Progress as TrainingProgress
from producer.output import console
from producer.output import jobs as render

Show = Callable[[JobStatus], None]

BAR, NARROW_BAR, WIDE = 24, 10, 100  # columns
PACE_S = 30.0  # of which the throughput is the mean
LINE_S = 10.0  # between two lines of a followed job, where there is no terminal


@contextmanager
def follower(name: str) -> Iterator[Show]:
    """Yield a function that shows the status of the named job: a live bar, or without a terminal a line per change."""
    if console.is_terminal(console.err):
        with _live(name) as show:
            yield show
    else:
        yield _Lines(name)


@contextmanager
def _live(name: str) -> Iterator[Show]:
    with Progress(*_columns(name), console=console.err, transient=True, expand=True) as progress:
        task = progress.add_task("", total=1.0, pace="", headline="")
        epochs, pace = _Epochs(), Pace()

        def show(job: JobStatus) -> None:
            epochs(job)
            done, total = work_of(job)
            headline = escape(console.printable(headline_of(job)))
            progress.update(
                task,
                completed=done,
                total=total,
                pace=pace_line(pace(done, total, time.monotonic())),
                headline=headline,
            )

        yield show


def _columns(name: str) -> Iterator[ProgressColumn]:
    """Yield the columns of a bar. In a narrow terminal the headline is cut, and nothing else."""
    yield TextColumn(name, table_column=Column(no_wrap=True))
    yield BarColumn(BAR if console.err.width >= WIDE else NARROW_BAR)
    yield TextColumn("{task.fields[pace]}", table_column=Column(no_wrap=True))
    yield TextColumn("{task.fields[headline]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))


class Pace:
    """Throughput over the last PACE_S seconds, and the time left at that.

    rich forgets the speed of a task whose total changes, as that of a training with a time limit does.
    """

    def __init__(self) -> None:
        self._seen = deque[tuple[float, float]]()

    def __call__(self, done: float, total: float, now: float) -> tuple[float, float] | None:
        """Return characters per second, and the seconds left; None if they are not known yet."""
        if not done or (self._seen and done < self._seen[-1][1]):  # between two slices, and after a retry
            self._seen.clear()
        if not done:
            return None
        if not self._seen or done > self._seen[-1][1]:  # a heartbeat; between two of them the speed stays
            self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[-1][0] - self._seen[0][0] > PACE_S:
            self._seen.popleft()
        (then, before), (last, _) = self._seen[0], self._seen[-1]
        if now - last > PACE_S or last <= then:
            return None
        speed = (done - before) / (last - then)
        return speed, max(0.0, (total - done) / speed - (now - last))


def clock(seconds: float) -> str:
    """Return a time as 1:05 or 2:00:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def pace_line(pace: tuple[float, float] | None) -> str:
    """Return a pace as 12,300/s 1:05, or nothing if it is not known yet."""
    return "" if pace is None else f"{pace[0]:,.0f}/s {clock(pace[1])}"


class _Lines:
    """Prints a job's headline when its words change, and its numbers at most every LINE_S seconds."""

    def __init__(self, name: str) -> None:
        self.name, self.last, self.at = name, "", 0.0
        self.epochs = _Epochs()

    def __call__(self, job: JobStatus) -> None:
        self.epochs(job)
        headline, now = headline_of(job), time.monotonic()
        due = _words(headline) != _words(self.last) or now - self.at >= LINE_S
        if not job.ended and headline != self.last and due:
            console.note(f"{self.name}: {headline}")
            self.last, self.at = headline, now


class _Epochs:
    """Prints each epoch of a training job once: its losses and preview texts."""

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self, job: JobStatus) -> None:
        for epoch in job.history[self.shown :]:
            console.note(f"epoch {render.epoch_line(epoch)}")
            for preview in epoch.previews:
                console.note(console.cut(f"  {render.preview_line(preview)}"))
        self.shown = len(job.history)


def _words(headline: str) -> str:
    """Return a headline without its numbers."""
    return re.sub(r"[\d.,]+", "", headline)


def work_of(job: JobStatus) -> tuple[float, float]:
    """Return the characters done and the total, to train on or to sample."""
    if isinstance(spec := job.known_spec, GenerateSpec):
        done, rows = render.characters(job), _rows(job)
        # Texts that a stop string ends are shorter than they may be: those so far tell how long the others will be.
        return done, min(spec.characters, done / rows * job.rows_total) if rows else spec.characters
    for part in job.progress:
        if isinstance(work := part.progress.work, TrainingProgress) and work.step:
            return work.characters, work.characters / work.step * work.steps
    return 0.0, 1.0


def headline_of(job: JobStatus) -> str:
    if job.waiting_for:
        return f"{job.state}: {job.waiting_for}"
    if job.kind == TrainSpec.QUEUE or not job.rows_total:
        return render.progress_line(job.progress[0]) if job.progress else job.state
    return f"{_rows(job):,} of {counted(job.rows_total, 'row')}, {counted(render.characters(job), 'character')}"


def _rows(job: JobStatus) -> int:
    """Return the rows that are done or failed, with those of parts in work."""
    works = [part.progress.work for part in job.progress]
    return job.rows_done + job.rows_failed + sum(work.rows for work in works if isinstance(work, SamplingProgress))

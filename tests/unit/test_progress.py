"""The bar of a followed job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from charrnn.jobs.job.part import PartProgress, RunningPart
from charrnn.training.progress import Progress
from producer.output import console, progress
from tests.fixtures.screens import terminal, written
from tests.unit.test_render import STEP, TRAIN


def said_by(pace: progress.Pace) -> Callable[[float, float, float], str]:
    """Return a function that says what the bar says."""
    return lambda done, total, now: progress.pace_line(pace(done, total, now))


def test_speed_and_time_left_survive_a_total_that_changes() -> None:
    # Catches: rich's own columns, which forget the speed then
    pace = said_by(progress.Pace())
    assert pace(100, 1_000, 0.0) == ""
    assert pace(200, 1_400, 1.0) == "100/s 0:12"
    assert pace(400, 400_400, 2.0) == "150/s 44:27"
    assert pace(400 + 8_000_000, 8_000_000_000, 100.0) == "81,633/s 27:11:42"


def test_the_speed_stays_between_two_heartbeats_and_the_time_left_falls() -> None:
    pace = said_by(progress.Pace())
    said = [pace(1_000 * (second // 5), 10_000, second) for second in range(18)]
    # Catches: a speed that falls and a time left that rises until the next heartbeat
    assert said[10:15] == ["200/s 0:40", "200/s 0:39", "200/s 0:38", "200/s 0:37", "200/s 0:36"]


def test_nothing_is_said_of_a_job_that_stands_still() -> None:
    pace = said_by(progress.Pace())
    said = [pace(min(1_000 * second, 5_000), 10_000, second) for second in range(60)]
    assert (said[10][:8], said[-1]) == ("1,000/s ", "")


def test_the_speed_is_that_of_the_last_seconds() -> None:
    pace = said_by(progress.Pace())
    for second in range(100):
        said = pace(1_000 * second if second < 50 else 50_000 + 10 * (second - 50), 60_000, second)
    assert said.startswith("10/s ")


def test_a_training_that_shows_no_progress_for_a_moment_is_not_fast_afterwards() -> None:
    pace = said_by(progress.Pace())
    said = [pace(done, 9e9, second) for second, done in enumerate([5e9, 0.0, 5e9 + 1_000, 5e9 + 3_000])]
    assert [text.split(" ")[0] for text in said] == ["", "", "", "2,000/s"]


def test_nothing_is_said_about_a_job_that_does_not_move() -> None:
    pace = said_by(progress.Pace())
    assert [pace(5, 10, second) for second in range(3)] == ["", "", ""]


def frames(monkeypatch: pytest.MonkeyPatch, width: int, *steps: Progress) -> str:
    """Return what a terminal gets while a training goes on."""
    screen = terminal(width, NO_COLOR="1")
    monkeypatch.setattr(console, "err", screen)
    clock = iter(range(1_000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    with progress.follower("job 7") as show:
        for step in steps:
            show(replace(TRAIN, progress=(RunningPart(part=0, attempt=1, progress=PartProgress(work=step)),)))
    return written(screen)


@pytest.mark.parametrize("width", [80, 120])
def test_a_bar_keeps_speed_and_time_left_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    later = replace(STEP, step=3_000, steps=7_000, characters=2_000_000)
    shown = frames(monkeypatch, width, STEP, later)
    [last] = [line for line in shown.replace("\r", "\n").splitlines() if "step 3,000" in line][-1:]
    assert "job 7" in last
    assert "1,000,000/s 0:0" in last
    assert "epoch 2 of 10, step 3,000 of 7,000" in last
    assert len(last.split("\x1b")[0]) <= width

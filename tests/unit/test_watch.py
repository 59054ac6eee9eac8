"""When work on a part continues, is requeued, is lost, or hangs: the two clocks of a lease, and draining."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.errors import LeaseLostError, UnreachableError
from charrnn.jobs.job.part import Part
from charrnn.jobs.settings import Settings
from tests.fixtures.store import generate_spec
from worker.parts import watch as module
from worker.parts.watch import COMPILING, WORKING, WRITING, Interrupted, Watch, start_draining

SETTINGS = Settings(home=Path("/none"), lease_s=30.0, stall_s=120.0)
PART = Part(
    span=1,
    id=1,
    job=1,
    number=0,
    token=1,
    attempt=1,
    spec=generate_spec(),
    first_row=0,
    rows=1,
    frame_offset=0,
    frame_row=0,
    checkpoint=None,
)


@pytest.fixture
def watch() -> Watch:
    return Watch(PART, SETTINGS)


@pytest.fixture(autouse=True)
def not_draining() -> Iterator[None]:
    yield
    module._drained_at.value = 0.0


def test_work_continues_while_the_lease_holds(watch: Watch) -> None:
    # Catches: a lease that expires at once
    watch.check()


def test_the_phase_is_shown_until_the_work_begins(watch: Watch) -> None:
    shown = [watch.progress.phase]
    for phase in (COMPILING, WORKING, WRITING):
        watch.enter(phase)
        shown.append(watch.progress.phase)
    assert shown == ["loading", "compiling", None, "writing"]


def test_work_stops_after_a_lease_without_a_heartbeat(watch: Watch) -> None:
    # Catches: a worker that waits for its thread, which hangs in a broken connection
    watch.heartbeat_at = time.monotonic() - 31
    with pytest.raises(LeaseLostError):
        watch.check()


def test_a_lost_lease_comes_before_a_cancelled_job(watch: Watch) -> None:
    # Catches: a part that is requeued by a worker that does not hold it
    watch.lost = watch.cancelled = True
    with pytest.raises(LeaseLostError):
        watch.check()


def test_a_cancelled_part_is_released(watch: Watch) -> None:
    # Catches: work that continues for a job that was canceled
    watch.cancelled = True
    with pytest.raises(Interrupted):
        watch.check()


@pytest.mark.parametrize(("within_s", "remaining_s"), [(25.0, 60.0), (25.0, None), (0.0, 5.0)])
def test_a_part_that_cannot_end_during_the_drain_is_requeued(
    watch: Watch, within_s: float, remaining_s: float | None
) -> None:
    # Catches: a part that its worker cannot finish, held until the worker is killed
    watch.remaining_s = remaining_s
    start_draining(within_s)
    with pytest.raises(Interrupted):
        watch.check()


def test_a_part_that_ends_before_its_worker_is_ended(watch: Watch) -> None:
    # Catches: a shutdown that discards 19 of 20 seconds of work
    watch.remaining_s = 10.0
    start_draining(25.0)
    watch.check()


@pytest.mark.parametrize(("phase", "still_s", "stalled"), [
    (WORKING, 119, None),
    (WORKING, 121, "hung: no progress for 120 s while working"),
    (COMPILING, 121, None),
    (COMPILING, 601, "hung: no progress for 600 s while compiling"),
])  # fmt: skip
def test_work_without_progress_is_hung(watch: Watch, phase: str, still_s: float, stalled: str | None) -> None:
    # Catches: compilation of some minutes that is killed as hung
    watch.enter(phase)
    watch.progress_at -= still_s
    assert watch.stalled == stalled


def test_a_check_records_progress(watch: Watch) -> None:
    # Catches: work that makes progress and is killed as hung
    watch.enter(WORKING)
    watch.progress_at -= 121
    watch.check()
    assert watch.stalled is None


def test_a_disk_that_is_full_for_an_hour_is_waited_for(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a number of tries, or a limit such as the 30 s of a lease, after which finished work is thrown away
    now = time.monotonic()
    full_until, waits = now + 3600, list[str | None]()

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        watch.heartbeat_at = now  # the store answers the thread

    def write() -> str:
        if now < full_until:
            raise UnreachableError("No space left on device")
        waits.append(watch.progress.waits)
        return "written"

    monkeypatch.setattr("worker.parts.watch.time.monotonic", lambda: now)
    monkeypatch.setattr("worker.parts.watch.time.sleep", sleep)
    watch.enter(WRITING)
    assert watch.retry(write) == "written"
    assert (waits, watch.progress.waits, watch.stalled) == (["No space left on device"], None, None)
    assert 3600 <= now - (full_until - 3600) < 3600 + 2 * module.LONGEST_PAUSE_S

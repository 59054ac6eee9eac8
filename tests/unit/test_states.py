"""The states, and every transition between them."""

from __future__ import annotations

from charrnn.jobs.job.states import ENDED_JOBS, PART_SOURCES, JobState, PartState

ENDED_PARTS = {PartState.DONE, PartState.FAILED, PartState.CANCELLED}


def test_every_part_state_has_sources() -> None:
    assert set(PART_SOURCES) == set(PartState)
    assert all(PART_SOURCES.values())


def test_no_part_leaves_a_state_that_is_an_end() -> None:
    # Catches: a late worker that commits a part twice
    assert not ENDED_PARTS & {source for sources in PART_SOURCES.values() for source in sources}


def test_only_a_queued_part_can_be_leased() -> None:
    # Catches: two workers with one part
    assert PART_SOURCES[PartState.LEASED] == (PartState.QUEUED,)


def test_a_part_without_a_lease_cannot_be_completed_or_failed() -> None:
    # Catches: a commit of a part that was requeued
    assert PART_SOURCES[PartState.DONE] == PART_SOURCES[PartState.FAILED] == (PartState.LEASED,)


def test_a_part_can_be_cancelled_whether_it_waits_or_runs() -> None:
    # Catches: a part in work that cannot be canceled
    assert set(PART_SOURCES[PartState.CANCELLED]) == {PartState.QUEUED, PartState.LEASED}


def test_a_job_has_ended_if_it_neither_waits_nor_runs() -> None:
    # Catches: a canceled job that is waited for forever
    assert set(ENDED_JOBS) == set(JobState) - {JobState.QUEUED, JobState.RUNNING}

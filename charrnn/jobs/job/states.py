"""The states of jobs, parts and slots, and every transition between them.

job:   queued → running → done | failed | cancelled
part:  queued → leased → done | failed | cancelled
       leased → queued, when the lease is released or expires, or the part is split
retry: failed | cancelled → queued, for parts; the job's state follows
slot:  due → submitted | unchanged | skipped | expired | failed
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class JobState(StrEnum):
    QUEUED = "queued"  # no part has been claimed yet
    RUNNING = "running"
    DONE = "done"  # perhaps with failed rows: `rows_failed` tells
    FAILED = "failed"
    CANCELLED = "cancelled"


class PartState(StrEnum):
    QUEUED = "queued"
    LEASED = "leased"  # a worker holds it until `lease_until`
    DONE = "done"
    FAILED = "failed"  # three attempts without progress and could not be split, or an error that a retry cannot fix
    CANCELLED = "cancelled"


class SlotState(StrEnum):
    """The state of a slot: a time at which a schedule was due."""

    DUE = "due"  # its job is about to be submitted, or waits for the previous one to end
    SUBMITTED = "submitted"
    UNCHANGED = "unchanged"  # its text is that of the last training job, so it has no job
    SKIPPED = "skipped"  # because of another rule of its schedule
    EXPIRED = "expired"  # its deadline passed before it was submitted
    FAILED = "failed"  # its job was refused


class Priority(IntEnum):
    """The priority of a job's parts among those that wait in its queue."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


FAILED_SLOTS = (SlotState.FAILED, SlotState.EXPIRED)  # of runs that got no job although they should have

ENDED_JOBS = (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

PART_SOURCES = {
    PartState.QUEUED: (PartState.LEASED,),
    PartState.LEASED: (PartState.QUEUED,),
    PartState.DONE: (PartState.LEASED,),
    PartState.FAILED: (PartState.LEASED,),
    PartState.CANCELLED: (PartState.QUEUED, PartState.LEASED),
}
"""The states from which a worker may move a part into each state."""

RETRIED = (PartState.FAILED, PartState.CANCELLED)

MAX_ATTEMPTS = 3  # at a part, without progress
MAX_SPLITS = 16  # failed parts of a job that are split: at most 128 further attempts, even if every row fails

DIED, HUNG, OUT_OF_MEMORY = "process died", "hung", "out of memory"
"""Reasons why an attempt ended, if there is no exception."""

"""Schedules, and the times at which they were due."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from charrnn.jobs.job.states import SlotState
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.tables.schema import index_where, metadata

schedules = Table(
    "schedules",
    metadata,
    Column("name", String, primary_key=True),
    Column("added_by", String, nullable=False),  # who submits its jobs
    Column("cron", String, nullable=False),
    Column("timezone", String, nullable=False),
    Column("request", JSON(none_as_null=True), nullable=False),  # the request that it submits: see job.requests
    Column("requested_at", BigInteger, nullable=False),  # when the request was last changed
    Column("overlap", String, nullable=False),  # skip, queue
    Column("catch_up", String, nullable=False),  # none, once
    Column("deadline_s", Float),  # time after which a slot is no longer submitted
    Column("always", Boolean, nullable=False),  # submit a training job even if the text has not changed
    Column("on_success", Text),  # a command or URL for the end of a run: see charrnn.jobs.upkeep.hooks
    Column("on_failure", Text),
    Column("paused", Boolean, nullable=False, default=False),
    Column("next_at", BigInteger, nullable=False),  # the first slot that is not decided yet
    Column("created_at", BigInteger, nullable=False, default=NOW),
)

slots = Table(
    "slots",
    metadata,
    Column("schedule", ForeignKey("schedules.name"), primary_key=True),
    Column("at", BigInteger, primary_key=True),  # when it is due; a time is a slot only once
    Column("state", String, nullable=False, default=SlotState.DUE),
    Column("by_hand", Boolean, nullable=False, default=False),
    Column("job", Integer),  # the job that was submitted for it; it may have been deleted since
    Column("then_job", Integer),  # the job that was submitted with it and samples after it
    Column("reason", Text),  # why it has no job, or other details
    Column("claimed_until", BigInteger, nullable=False, default=0),  # end of the claim of the process that submits it
    Column("hook_at", BigInteger, default=0),  # when a hook may be told of its end; NULL: it was, or there is none
    Column("hook_attempts", Integer, nullable=False, default=0),
    Column("hook_error", Text),  # of the last attempt
    CheckConstraint(f"state in ({', '.join(repr(str(state)) for state in SlotState)})", name="slot_state"),
    Index("slots_by_state", "state"),
)

WITH_HOOK = slots.c.hook_at.is_not(None)
index_where("slots_by_hook", WITH_HOOK, slots.c.hook_at)

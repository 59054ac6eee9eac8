"""Jobs, their parts, and what their work has yielded so far.

Counters are in the job's row and change in the part's transaction, so that progress takes one row to read, however
large the job is. The rows to sample are in files, not here.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    FromClause,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    literal_column,
    or_,
)

from charrnn.jobs.job.states import RETRIED, JobState, PartState, Priority
from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.tables.schema import STORAGE, index_where, metadata

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),  # train, generate
    Column("label", String),
    Column("submitted_by", String, nullable=False),  # a person, or who added the schedule
    Column("schedule", String),  # the schedule that submitted it; it may have been removed since
    Column("key", String, unique=True),  # idempotency key
    Column("request", String),  # hash of the request, to compare it with another one that has the same key
    Column("priority", Integer, nullable=False, default=Priority.NORMAL),
    Column("state", String, nullable=False, default=JobState.QUEUED),
    Column("spec", JSON(none_as_null=True), nullable=False),
    Column("model", String, nullable=False),
    Column("version", Integer),  # the version that it samples from or trained
    Column("after", ForeignKey("jobs.id")),  # training job whose version it uses; it waits until `version` is set
    Column("parts_total", Integer, nullable=False),
    Column("splits", Integer, nullable=False, default=0, server_default="0"),  # of parts that failed
    Column("parts_left", Integer, nullable=False),  # neither done, failed nor cancelled
    Column("rows_total", BigInteger, nullable=False, default=0),
    Column("rows_done", BigInteger, nullable=False, default=0),
    Column("rows_failed", BigInteger, nullable=False, default=0),
    Column("characters", BigInteger, nullable=False, default=0),  # sampled
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("deleting", Boolean, nullable=False, default=False, server_default=false()),  # see store.deletion.jobs
    Column("error", Text),
    Column("traceparent", String),  # of its submit: see jobs.tracing
    Column("turn", BigInteger, nullable=False, server_default="0"),  # place among those of its submitter: see turns
    Column("created_at", BigInteger, nullable=False, default=NOW),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    CheckConstraint(f"state in ({', '.join(repr(str(state)) for state in JobState)})", name="job_state"),
    CheckConstraint("parts_left >= 0 and rows_done + rows_failed <= rows_total", name="job_counters"),
    Index("jobs_by_state", "state", "id", "kind"),  # for metrics; and for lists, as are the next five, the newest first
    Index("jobs_by_kind", "kind", "id"),
    Index("jobs_by_model", "model", "id"),
    Index("jobs_by_submitter", "submitted_by", "id"),
    sqlite_autoincrement=True,  # the id of a deleted job is not used again
)


# Most jobs have none of these.
for column in (jobs.c.schedule, jobs.c.label):
    index_where(f"jobs_by_{column.name}", column.is_not(None), column, jobs.c.id)
index_where("jobs_by_after", jobs.c.after.is_not(None), jobs.c.after)
index_where("jobs_deleting", jobs.c.deleting.is_(True), jobs.c.id)


def claimable(job: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row of `jobs` has not ended and does not wait for a training job."""
    return and_(job.c.finished_at.is_(None), ready(job))


def ready(job: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row of `jobs` does not wait for a training job."""
    return or_(job.c.after.is_(None), job.c.version.is_not(None))


READY = ready(jobs)

# The jobs of a submitter in the order of their turns, so that a claim reads the first ones alone. It has none of the
# jobs that have ended.
index_where(
    "jobs_by_turn",
    claimable(jobs),
    jobs.c.kind,
    jobs.c.priority.desc(),
    jobs.c.submitted_by,
    jobs.c.turn,
    jobs.c.id,
)

parts = Table(
    "parts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", ForeignKey("jobs.id"), nullable=False),
    Column("number", Integer, nullable=False),  # position in the job, from 0
    Column("spec_version", Integer, nullable=False),  # the highest that its work uses: see job.specs.SINCE
    Column("state", String, nullable=False, default=PartState.QUEUED),
    Column("first_row", BigInteger, nullable=False, default=0),
    Column("rows", BigInteger, nullable=False, default=0),
    Column("span", Integer, nullable=False, default=1, server_default="1"),  # parts that it stands for: attempts.join
    Column("frame_offset", BigInteger, nullable=False, default=0),  # byte of the seeds file to start reading at
    Column("frame_row", BigInteger, nullable=False, default=0),  # the first row of the seed at that offset
    Column("attempts", Integer, nullable=False, default=0),  # claims since the last committed progress
    Column("token", Integer, nullable=False, default=0),  # fencing token of the last lease; only it may commit
    Column("owner", String),
    Column("lease_until", BigInteger),
    Column("progress", JSON(none_as_null=True)),  # progress of the running attempt
    Column("checkpoint", JSON(none_as_null=True)),  # last checkpoint of a training part
    Column("output", JSON(none_as_null=True)),  # the part file
    Column("error", Text),  # error of the last attempt
    UniqueConstraint("job", "first_row"),
    CheckConstraint(f"state in ({', '.join(repr(str(state)) for state in PartState)})", name="part_state"),
    CheckConstraint("span >= 1", name="part_span"),
    CheckConstraint("(state = 'leased') = (lease_until is not null)", name="part_lease"),
)

STORAGE |= {
    # Room for the next counters in the same page, which then change no index.
    jobs: {"fillfactor": 80},
    # Room for heartbeats, and a vacuum for every 1% that changed: by default a table of 20 million parts would wait for
    # 4 million dead rows.
    parts: {"fillfactor": 90, "autovacuum_vacuum_scale_factor": 0.01, "autovacuum_analyze_scale_factor": 0.01},
}


def in_state(*states: PartState) -> ColumnElement[bool]:
    """Return the condition that a part is in one of some states.

    The states are not parameters: otherwise no query could use an index of the parts in a state.
    """
    words: list[ColumnElement[str]] = [literal_column(repr(str(state))) for state in states]
    return parts.c.state == words[0] if len(words) == 1 else parts.c.state.in_(words)


QUEUED, LEASED, LOST = in_state(PartState.QUEUED), in_state(PartState.LEASED), in_state(*RETRIED)

# Millions of parts are done. The others have indexes of their own, which stay small: among a million parts, each of
# their queries takes a few milliseconds at most. No index has `lease_until`: a heartbeat, which changes it and the
# progress, writes no index.
index_where("parts_queued", QUEUED, parts.c.job, parts.c.number)
index_where("parts_leased", LEASED, parts.c.job, parts.c.owner)
index_where("parts_lost", LOST, parts.c.job)

reports = Table(
    "reports",  # of the parts of a job that are done, some of them added up: see store.reports
    metadata,
    Column("id", Integer, primary_key=True),
    # A program that does not know this table can delete a job.
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("report", JSON(none_as_null=True), nullable=False),  # see job.report.Report
    Index("reports_by_job", "job", "id"),
)

engines = Table(
    "engines",  # what did the committed work of a job: its results depend on it
    metadata,
    # A program that does not know this table can delete a job.
    Column("job", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("device", String, primary_key=True),  # cpu or gpu
    Column("precision", String, primary_key=True),
    Column("release", String, primary_key=True),
    Column("commits", Integer, nullable=False),  # parts that were sampled, or checkpoints
    Column("first_at", BigInteger, nullable=False, default=NOW),
)

metrics = Table(
    "metrics",
    metadata,
    Column("job", ForeignKey("jobs.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    Column("learning_rate", Float, nullable=False),
    Column("train_loss", Float, nullable=False),
    Column("val_loss", Float, nullable=False),
    Column("at", BigInteger, nullable=False, default=NOW),
)

previews = Table(
    "previews",
    metadata,
    Column("job", ForeignKey("jobs.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("temperature", Float, primary_key=True),
    Column("seed", Text, nullable=False),
    Column("text", Text, nullable=False),
)

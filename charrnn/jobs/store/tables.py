"""The store's tables. Times are integer milliseconds of the database's clock.

Counters live on the job's row and move in the transaction of the part, so that progress is one
row read however large the job is. Rows to sample live in files, not here.
"""

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
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from charrnn.jobs.job.states import JobState, PartState, Priority, SlotState
from charrnn.jobs.store.database import NOW

metadata = MetaData()

store = Table(
    "store",
    metadata,
    Column("id", String, primary_key=True),  # kept in the broker too: see Queue.claim_for
    Column("schema_version", Integer, nullable=False),
    Column("files", Text),  # where its files are; set when the first one is about to be written
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),  # train, generate
    Column("label", String),
    Column(
        "key", String, unique=True
    ),  # of a submit that may be repeated; `request` tells whether it asks for the same
    Column("request", String),
    Column("priority", Integer, nullable=False, default=Priority.NORMAL),
    Column("state", String, nullable=False, default=JobState.QUEUED),
    Column("spec", JSON(none_as_null=True), nullable=False),
    Column("model", String, nullable=False),
    Column("version", Integer),  # sampled from, or trained
    Column("after", ForeignKey("jobs.id")),  # the training whose version it will use; it waits until `version` is set
    Column("parts_total", Integer, nullable=False),
    Column("parts_left", Integer, nullable=False),  # neither done, failed nor cancelled
    Column("rows_total", BigInteger, nullable=False, default=0),
    Column("rows_done", BigInteger, nullable=False, default=0),
    Column("rows_failed", BigInteger, nullable=False, default=0),
    Column("characters", BigInteger, nullable=False, default=0),  # sampled
    Column("report", JSON(none_as_null=True)),  # of the sampler, summed over the parts: see reports
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("error", Text),
    Column("created_at", BigInteger, nullable=False, default=NOW),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    CheckConstraint(f"state in ({', '.join(repr(str(state)) for state in JobState)})", name="job_state"),
    CheckConstraint("parts_left >= 0 and rows_done + rows_failed <= rows_total", name="job_counters"),
    Index("jobs_by_state", "state", "kind"),
    Index("jobs_by_after", "after"),
    sqlite_autoincrement=True,  # a deleted job's number is not given again
)

parts = Table(
    "parts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", ForeignKey("jobs.id"), nullable=False),
    Column("number", Integer, nullable=False),  # in the job, from 0
    Column("queue", String, nullable=False),
    Column("spec_version", Integer, nullable=False),  # a worker claims only versions that it knows
    Column("state", String, nullable=False, default=PartState.QUEUED),
    Column("first_row", BigInteger, nullable=False, default=0),
    Column("rows", BigInteger, nullable=False, default=0),
    Column("frame_offset", BigInteger, nullable=False, default=0),  # in the seeds file, where to begin to read for it
    Column("frame_row", BigInteger, nullable=False, default=0),  # the first row of the seed that stands there
    Column("attempts", Integer, nullable=False, default=0),  # claims since the last committed progress
    Column("token", Integer, nullable=False, default=0),  # of the last lease; only it may commit
    Column("owner", String),
    Column("lease_until", BigInteger),
    Column("progress", JSON(none_as_null=True)),  # of the running attempt
    Column("checkpoint", JSON(none_as_null=True)),  # of a training part
    Column("output", JSON(none_as_null=True)),  # the part file
    Column("error", Text),  # of the last attempt
    UniqueConstraint("job", "number"),
    Index("parts_by_queue", "queue", "state"),
    Index("parts_by_job", "job", "state", "number"),
    Index("parts_by_lease", "lease_until"),
    CheckConstraint(f"state in ({', '.join(repr(str(state)) for state in PartState)})", name="part_state"),
    CheckConstraint("(state = 'leased') = (lease_until is not null)", name="part_lease"),
)

models = Table(
    "models",
    metadata,
    Column("name", String, primary_key=True),
    Column("validation", JSON(none_as_null=True), nullable=False),  # frozen at the first training
    Column("newest", Integer, nullable=False, default=0),  # number given out; that of a deleted version stays taken
    Column("created_at", BigInteger, nullable=False, default=NOW),
)

versions = Table(
    "versions",
    metadata,
    Column("model", ForeignKey("models.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("job", ForeignKey("jobs.id")),  # none of a version that was imported
    Column("files", JSON(none_as_null=True), nullable=False),
    Column("characters", Text, nullable=False),  # the vocabulary
    Column("network", JSON(none_as_null=True), nullable=False),
    Column("val_loss", Float, nullable=False),
    Column("skipped", Integer, nullable=False),  # characters of the validation text that it does not know
    Column("precision", String, nullable=False),  # that it is sampled in
    Column("release", String),  # of this program, that trained it; none of a version that was imported
    Column("gate", JSON(none_as_null=True), nullable=False),  # how it was compared with the champion; see gate.Gate
    Column("promoted_at", BigInteger),  # when it became champion, unless it was rolled back since
    Column("created_at", BigInteger, nullable=False, default=NOW),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", ForeignKey("models.name"), primary_key=True),
    Column("alias", String, primary_key=True),
    Column("version", Integer, nullable=False),
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

speeds = Table(
    "speeds",
    metadata,
    Column("model", String, primary_key=True),
    Column("device", String, primary_key=True),  # cpu or gpu
    Column("characters_per_s", Float, nullable=False),  # with a full batch of the most slots
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", String, primary_key=True),
    Column("cron", String, nullable=False),
    Column("timezone", String, nullable=False),
    Column("request", JSON(none_as_null=True), nullable=False),  # what it submits; see requests
    Column("overlap", String, nullable=False),  # skip, queue
    Column("catch_up", String, nullable=False),  # none, once
    Column("deadline_s", Float),  # after which a slot is not submitted any more
    Column("always", Boolean, nullable=False),  # submit a training also on the text of the last one
    Column("paused", Boolean, nullable=False, default=False),
    Column("next_at", BigInteger, nullable=False),  # the first slot that was not decided on
    Column("created_at", BigInteger, nullable=False, default=NOW),
)

slots = Table(
    "slots",
    metadata,
    Column("schedule", ForeignKey("schedules.name"), primary_key=True),
    Column("at", BigInteger, primary_key=True),  # when it is due; no time is a slot twice
    Column("state", String, nullable=False, default=SlotState.DUE),
    Column("by_hand", Boolean, nullable=False, default=False),
    Column("job", Integer),  # that was submitted for it; it may have been deleted since
    Column("reason", Text),  # why it has no job, or more to know about it
    Column("claimed_until", BigInteger, nullable=False, default=0),  # by who is about to submit it
    CheckConstraint(f"state in ({', '.join(repr(str(state)) for state in SlotState)})", name="slot_state"),
    Index("slots_by_state", "state"),
)

workers = Table(
    "workers",
    metadata,
    Column("owner", String, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),  # of the pool's child
    Column("device", String, nullable=False),
    Column("queues", JSON(none_as_null=True), nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("name", String, primary_key=True),
    Column("at", BigInteger, nullable=False),
)

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
    literal_column,
)

from charrnn.jobs.states import JobState, PartState

NOW = literal_column("cast((julianday('now') - 2440587.5) * 86400000 as integer)", Integer)
"""The database's clock; `unixepoch('subsec')` is NULL without an error on SQLite 3.40."""

metadata = MetaData()

store = Table(
    "store",
    metadata,
    Column("id", String, primary_key=True),  # kept in the broker too: see Queue.claim_for
    Column("schema_version", Integer, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String, nullable=False),  # train, generate
    Column("label", String),
    Column("state", String, nullable=False, default=JobState.QUEUED),
    Column("spec", JSON, nullable=False),
    Column("model", String, nullable=False),
    Column("version", Integer),  # sampled from, or trained
    Column("parts_total", Integer, nullable=False),
    Column("parts_left", Integer, nullable=False),  # neither done, failed nor cancelled
    Column("rows_total", Integer, nullable=False, default=0),
    Column("rows_done", Integer, nullable=False, default=0),
    Column("rows_failed", Integer, nullable=False, default=0),
    Column("characters", BigInteger, nullable=False, default=0),  # sampled
    Column("report", JSON),  # of the sampler, summed over the parts: see reports
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("error", Text),
    Column("created_at", BigInteger, nullable=False, default=NOW),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    CheckConstraint(f"state in ({', '.join(repr(str(state)) for state in JobState)})", name="job_state"),
    CheckConstraint("parts_left >= 0 and rows_done + rows_failed <= rows_total", name="job_counters"),
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
    Column("first_row", Integer, nullable=False, default=0),
    Column("rows", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),  # claims since the last committed progress
    Column("token", Integer, nullable=False, default=0),  # of the last lease; only it may commit
    Column("owner", String),
    Column("lease_until", BigInteger),
    Column("progress", JSON),  # of the running attempt
    Column("checkpoint", JSON),  # of a training part
    Column("output", JSON),  # the part file
    Column("error", Text),  # of the last attempt
    UniqueConstraint("job", "number"),
    Index("parts_by_queue", "queue", "state"),
    Index("parts_by_job", "job", "state"),
    CheckConstraint(f"state in ({', '.join(repr(str(state)) for state in PartState)})", name="part_state"),
    CheckConstraint("(state = 'leased') = (lease_until is not null)", name="part_lease"),
)

models = Table(
    "models",
    metadata,
    Column("name", String, primary_key=True),
    Column("held_out", JSON, nullable=False),  # frozen at the first training
    Column("created_at", BigInteger, nullable=False, default=NOW),
)

versions = Table(
    "versions",
    metadata,
    Column("model", ForeignKey("models.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("job", ForeignKey("jobs.id"), nullable=False),
    Column("files", JSON, nullable=False),
    Column("characters", Text, nullable=False),  # the vocabulary
    Column("network", JSON, nullable=False),
    Column("held_out_nats", Float, nullable=False),
    Column("precision", String, nullable=False),  # that it is sampled in
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
    Column("train_nats", Float, nullable=False),
    Column("held_out_nats", Float, nullable=False),
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

workers = Table(
    "workers",
    metadata,
    Column("owner", String, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),  # of the pool's child
    Column("device", String, nullable=False),
    Column("queues", JSON, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("name", String, primary_key=True),
    Column("at", BigInteger, nullable=False),
)

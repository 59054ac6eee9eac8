"""Workers, the rounds of maintenance, and counters of what was done."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Float, Integer, String, Table

from charrnn.jobs.store.tables.schema import metadata

workers = Table(
    "workers",
    metadata,
    Column("owner", String, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),  # process id of the pool child
    Column("device", String, nullable=False),
    Column("queues", JSON(none_as_null=True), nullable=False),
    Column("release", String),  # of its program
    Column("spec_version", Integer),  # the highest that it can read
    Column("self_check", String),  # see job.report
    Column("seen_at", BigInteger, nullable=False),
)

rounds = Table(
    "rounds",
    metadata,
    Column("name", String, primary_key=True),
    Column("at", BigInteger, nullable=False),
)

counters = Table(
    "counters",  # see the module counters
    metadata,
    Column("name", String, primary_key=True),
    Column("label", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("bucket", String, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("value", Float, nullable=False),
)

"""Models, their versions and aliases, and their measured throughput."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Integer, String, Table, Text

from charrnn.jobs.store.database import NOW
from charrnn.jobs.store.tables.schema import metadata

models = Table(
    "models",
    metadata,
    Column("name", String, primary_key=True),
    Column("validation", JSON(none_as_null=True), nullable=False),  # frozen at the first training
    Column("newest", Integer, nullable=False, default=0),  # highest version number used, even if deleted since
    Column("created_at", BigInteger, nullable=False, default=NOW),
)

versions = Table(
    "versions",
    metadata,
    Column("model", ForeignKey("models.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("job", ForeignKey("jobs.id")),  # NULL for an imported version
    Column("files", JSON(none_as_null=True), nullable=False),
    Column("characters", Text, nullable=False),  # the vocabulary
    Column("network", JSON(none_as_null=True), nullable=False),
    Column("val_loss", Float, nullable=False),
    Column("skipped", Integer, nullable=False),  # characters of the validation text that it does not know
    Column("precision", String, nullable=False),  # precision to sample it in
    Column("release", String),  # the release of this program that trained it; NULL for an imported version
    Column("gate", JSON(none_as_null=True), nullable=False),  # comparison with the champion: see job.version.Gate
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

speeds = Table(
    "speeds",
    metadata,
    Column("model", String, primary_key=True),
    Column("device", String, primary_key=True),  # cpu or gpu
    Column("characters_per_s", Float, nullable=False),  # throughput with a full batch of the largest size
)

"""Model versions as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.version import Gate, ListedVersion, VersionDetails
from charrnn.options import NetworkOptions
from producer.records.jobs import TrainRecord, train
from producer.records.time import time


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """A version of a model."""

    model: str
    version: str
    """Such as speeches@3."""
    aliases: tuple[str, ...]
    job: int | None
    """The training job; null for an imported version."""
    files: FileRef
    characters: str
    """The vocabulary."""
    network: NetworkOptions
    val_loss: float
    skipped: int
    """Characters of the validation text that are not in the vocabulary."""
    precision: str
    release: str | None
    gate: Gate
    promoted_at: str | None
    created_at: str | None
    unreadable: str | None
    """Why files, network and gate are empty."""


@dataclass(frozen=True, kw_only=True)
class VersionDetailsRecord(VersionRecord):
    """A version with all its details."""

    validation: FileRef | None
    reason: str
    """The gate's verdict in words."""
    training: TrainRecord | None


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """A version that was exported to a file."""

    version: str
    """Such as speeches@3."""
    path: str
    size: int
    """In bytes."""
    sha256: str


def version(found: ListedVersion) -> VersionRecord:
    return VersionRecord(
        model=found.model,
        version=found.name,
        aliases=found.aliases,
        job=found.job,
        files=found.files,
        characters=found.characters,
        network=found.network,
        val_loss=found.val_loss,
        skipped=found.skipped,
        precision=found.precision,
        release=found.release,
        gate=found.gate,
        promoted_at=time(found.promoted_at),
        created_at=time(found.created_at),
        unreadable=found.unreadable,
    )


def version_details(found: VersionDetails) -> VersionDetailsRecord:
    return VersionDetailsRecord(
        **vars(version(found)),
        validation=found.validation,
        reason=found.reason,
        training=train(found.training) if found.training else None,
    )

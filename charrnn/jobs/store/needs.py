"""Needs: the spec version that a worker must be able to read to do a job, computed from what the job uses."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select

from charrnn.jobs.job.json_object import Since, needed_version
from charrnn.jobs.job.specs import SINCE, GenerateSpec, TrainSpec
from charrnn.jobs.store.tables import jobs, versions
from charrnn.options import NetworkOptions


def needed_by(
    connection: Connection,
    spec: TrainSpec | GenerateSpec,
    after: int | None,
    seed_options: Collection[str],
    since: Since = SINCE,
) -> int:
    """Return the spec version that a job needs: by its spec, its seeds, and the network that it samples from.

    Args:
        after: the training job that will make its version.
        seed_options: the options that its seeds have of their own.
    """
    needed = [needed_version(spec, since), *(since.get(f"Seed.{name}", 1) for name in seed_options)]
    if isinstance(spec, GenerateSpec):
        network = _network(connection, spec, after)
        needed += [needed_version(NetworkOptions.from_dict(network), since)] if network else []
    return max(needed)


def _network(connection: Connection, spec: GenerateSpec, after: int | None) -> Any:
    query = select(jobs.c.spec["network"]).where(jobs.c.id == after)
    if spec.version is not None:
        own = (versions.c.model == spec.model) & (versions.c.version == spec.version)
        query = select(versions.c.network).where(own)
    return connection.execute(query).scalar_one_or_none()

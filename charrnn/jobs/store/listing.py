"""The list of all versions. One that cannot be read is shown as such, and the others as they are."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Row, select

from charrnn.errors import DamagedError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.version import Gate, ListedVersion
from charrnn.jobs.store.registry import version_facts
from charrnn.jobs.store.tables import aliases, versions
from charrnn.options import NetworkOptions


def list_versions(connection: Connection) -> list[ListedVersion]:
    """Return every version with its aliases, by model and number."""
    rows = connection.execute(select(versions).order_by(versions.c.model, versions.c.version)).all()
    names: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for alias in connection.execute(select(aliases).order_by(aliases.c.alias)):
        names[alias.model, alias.version].append(alias.alias)
    return [ListedVersion(**_listed(row), aliases=tuple(names[row.model, row.version])) for row in rows]


def _listed(row: Row[Any]) -> dict[str, Any]:
    try:
        return version_facts(row)
    except DamagedError as error:  # the other versions are listed as they are
        unknown = {"files": FileRef(name="", size=0, sha256=""), "network": NetworkOptions()}
        return {**row._mapping, **unknown, "gate": Gate(promoted=False), "unreadable": str(error)}

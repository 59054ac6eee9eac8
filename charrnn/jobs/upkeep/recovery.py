"""What a database needs after it was restored from a backup: numbers that were used since must not be used again."""

from __future__ import annotations

from sqlalchemy import Connection, update

from charrnn.jobs.job.states import PartState
from charrnn.jobs.store.database import skip_ids
from charrnn.jobs.store.tables import jobs, models, parts

SKIPPED_TOKENS = 1_000_000  # more than any part was claimed since the backup
SKIPPED_JOBS = 1_000
SKIPPED_VERSIONS = 100


def skip_used_numbers(connection: Connection) -> None:
    """Raise the fencing tokens, and the numbers of the next jobs and versions, above those used since the backup.

    Otherwise a worker that was cut off since could commit with the token of a new lease, and the names of lost jobs and
    versions would mean others. Raising them twice does no harm.
    """
    open_parts = parts.c.state != PartState.DONE
    connection.execute(update(parts).where(open_parts).values(token=parts.c.token + SKIPPED_TOKENS))
    connection.execute(update(models).values(newest=models.c.newest + SKIPPED_VERSIONS))
    skip_ids(connection, jobs, SKIPPED_JOBS)

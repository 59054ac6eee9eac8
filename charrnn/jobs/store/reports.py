"""Reports of jobs: each part adds a row, and now and then a few rows of a job are replaced by their sum.

A part thus reads and rewrites no sum of up to 115 kB under the lock of its job, for which the ends of other parts wait.
"""

from __future__ import annotations

import logging
from functools import reduce
from operator import add
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from charrnn.errors import DamagedError
from charrnn.jobs.job.json_object import reading
from charrnn.jobs.job.report import Report
from charrnn.jobs.store.tables import reports

logger = logging.getLogger(__name__)

MERGED = 16  # rows that are replaced at once: reading a report adds up about as many


def add_report(connection: Connection, job: int, report: Report) -> None:
    """Add the report of one part to that of its job."""
    connection.execute(insert(reports).values(job=job, report=report.to_dict()))


def read_report(connection: Connection, job: int) -> Report | None:
    """Return the report of a job so far, or None before its first part has ended.

    Raises:
        DamagedError: a row of it cannot be read.
    """
    query = select(reports.c.report).where(reports.c.job == job).order_by(reports.c.id)
    rows = connection.execute(query).scalars().all()
    with reading(f"the report of job {job}"):
        return reduce(add, map(Report.from_dict, rows)) if rows else None


def merge_reports(connection: Connection, job: int) -> None:
    """Replace the rows of a job that no other transaction merges by one. A damaged row is left out, with a warning."""
    query = select(reports).where(reports.c.job == job).order_by(reports.c.id)
    rows = connection.execute(query.with_for_update(skip_locked=True)).all()
    readable = [report for row in rows if (report := _report(job, row.report))]
    if len(rows) > 1 and readable:
        connection.execute(delete(reports).where(reports.c.id.in_([row.id for row in rows])))
        add_report(connection, job, reduce(add, readable))


def _report(job: int, document: Any) -> Report | None:
    try:
        with reading(f"the report of job {job}"):
            return Report.from_dict(document)
    except DamagedError as error:
        logger.warning("%s", error)
        return None

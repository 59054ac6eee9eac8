"""Reports, engines and epochs of jobs, as their parts add them.

Each part adds its report as a row, and MERGED of these rows are replaced by their sum later. A part thus reads and
rewrites no sum of up to 115 kB under the lock of its job, for which the ends of other parts wait.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from charrnn.errors import DamagedError
from charrnn.jobs.job.json_object import reading
from charrnn.jobs.job.report import Report
from charrnn.jobs.store.database import upsert
from charrnn.jobs.store.tables import engines, metrics, previews, reports
from charrnn.release import release
from charrnn.training.progress import EpochMetrics

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


def count_engine(connection: Connection, job: int, device: str, precision: str, commits: int = 1) -> None:
    """Count commits of this release on a device and in a precision."""
    engine = {"job": job, "device": device, "precision": precision, "release": release()}
    upsert(connection, engines, {"commits": engines.c.commits + commits}, **engine, commits=commits)


def add_epochs(connection: Connection, job: int, history: Sequence[EpochMetrics]) -> None:
    """Insert epochs. Replace those that ran again with another result, because of a time limit or another device."""
    columns = (metrics.c.epoch, metrics.c.step, metrics.c.val_loss)
    known = {tuple(row) for row in connection.execute(select(*columns).where(metrics.c.job == job))}
    for epoch in history:
        if (epoch.epoch, epoch.step, epoch.val_loss) not in known:
            for table in (previews, metrics):
                connection.execute(delete(table).where(table.c.job == job, table.c.epoch == epoch.epoch))
            values = asdict(epoch)
            texts = values.pop("previews")
            connection.execute(insert(metrics).values(job=job, **values))
            for preview in texts:
                connection.execute(insert(previews).values(job=job, epoch=epoch.epoch, **preview))

"""A job that a client submitted, to wait for and to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Unpack

from charrnn.errors import InputError
from charrnn.jobs.job.views import JobStatus
from charrnn.jobs.rows.results import RowFilter
from charrnn.jobs.rows.row import Row
from charrnn.jobs.submit.submitted import Spec, Submitted

if TYPE_CHECKING:
    from charrnn.jobs.client import Client


@dataclass(frozen=True, kw_only=True)
class JobHandle(Submitted[Spec]):
    """A submitted job and its client.

        job = client.submit(request, ["Today, we"])
        if job.wait().succeeded:
            for row in job.rows():
                print(row.text)

    Raises:
        InputError: from every method after a dry run, which stores no job.
    """

    client: Client = field(repr=False, compare=False)

    def status(self) -> JobStatus:
        """Return everything about the job."""
        return self.client.status(self._stored_id())

    def wait(self, timeout_s: float | None = None) -> JobStatus:
        """Wait until the job has ended, and return its status.

        Raises:
            NotFinishedError: it did not end within `timeout_s` seconds. It continues.
        """
        return self.client.wait(self._stored_id(), timeout_s)

    def rows(self, **filters: Unpack[RowFilter]) -> Iterator[Row]:
        """Return an iterator over the rows, as `Client.rows` does."""
        return self.client.rows(self._stored_id(), **filters)

    def cancel(self) -> bool:
        """Cancel the job. Rows that are done stay readable. Return False if it had ended already."""
        return self.client.cancel(self._stored_id())

    def _stored_id(self) -> int:
        if self.id is None:
            raise InputError("A dry run stores no job. Submit the request without dry_run")
        return self.id

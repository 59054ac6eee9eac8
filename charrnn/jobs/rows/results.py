"""The result lines of a job, in row order, part after part: however many there are, one part file is read at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import Row

from charrnn.jobs.files.files import Files
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.states import PartState
from charrnn.jobs.rows.rows import dump_line, failed_result, read_lines, stored_rows
from charrnn.jobs.store.store import Store

POLL_S = 0.5  # between two looks at a job that is followed
TO_COME = (PartState.QUEUED, PartState.LEASED)


class Results:
    """Of one generate job."""

    def __init__(self, store: Store, files: Files, job: Mapping[str, Any]) -> None:
        self.store, self.files, self.job_id = store, files, int(job["id"])
        self.spec = GenerateSpec.from_dict(job["spec"])

    def lines(
        self, first: int = 0, stop: int | None = None, *, failed: bool = False, follow: bool = False
    ) -> Iterator[bytes]:
        """Lines of the rows from `first` to before `stop`.

        Args:
            failed: only those of parts that were given up.
            follow: wait for rows that are not done, instead of leaving them out.
        """
        stop = self.spec.rows if stop is None else min(stop, self.spec.rows)
        wanted = (PartState.FAILED,) if failed else (PartState.DONE, PartState.FAILED)
        if first < stop:
            for part in self._parts(first // self.spec.part_rows, -(-stop // self.spec.part_rows), follow):
                if part.state in wanted:
                    lines = self._part_lines(part)
                    yield from islice(lines, max(first - part.first_row, 0), stop - part.first_row)

    def _parts(self, number: int, stop: int, follow: bool) -> Iterator[Row[Any]]:
        while number < stop and (page := self.store.parts(self.job_id, first=number)):
            for part in page[: stop - number]:
                if follow and part.state in TO_COME:
                    time.sleep(POLL_S)
                    break
                number += 1
                yield part

    def _part_lines(self, part: Row[Any]) -> Iterator[bytes]:
        if part.state == PartState.DONE:
            with self.files.open(FileRef(**part.output)) as file:
                yield from read_lines(file)
            return
        spec = GenerateSpec.from_dict(self.store.job(self.job_id)["spec"])  # with the version that was awaited
        for row in stored_rows(self.files, spec, part):
            yield dump_line(failed_result(row, spec.name, part.error))

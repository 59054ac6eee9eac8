"""Read the result lines of a job in row order, part by part. Only one part file is read at a time."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from typing import TypedDict, Unpack

from charrnn.checks import check_flag, check_integer, check_keywords, check_strings
from charrnn.errors import DamagedError, InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.files.layout import part_prefix
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.part import StoredPart
from charrnn.jobs.job.states import PartState
from charrnn.jobs.job.views import POLL_S, check_id
from charrnn.jobs.rows.formats import parse_conditions, select
from charrnn.jobs.rows.rows import distinct_lines, dump_line, failed_result, read_lines, stored_rows

MAX_AHEAD = 4 << 20  # bytes of a part file that is read before it is its turn
UNFINISHED = (PartState.QUEUED, PartState.LEASED)


class RowFilter(TypedDict, total=False):
    """Which rows of a job to read. All of them by default; of a job that has not ended, those that are done.

    Attributes:
        rows: the first row and the one after the last. None as the second means up to the end.
        where: a condition such as "temperature=0.5", or several that a row must all meet.
        failed: only rows that could not be sampled.
        novel: only texts that are not in the training text, as far as that is known.
        distinct: only the first of the rows with the same seed and text, and no failed rows.
        limit: maximum number of rows.
        follow: wait for rows that are not done yet, until the job has ended.
    """

    rows: tuple[int, int | None]
    where: str | Sequence[str]
    failed: bool
    novel: bool
    distinct: bool
    limit: int | None
    follow: bool


class Results:
    """The rows of one generate job.

    Every row that is yielded is the one that was asked for: what the database says about parts is not believed.

    Raises:
        InputError: the job is a training job.
        NotFoundError: the job does not exist.
    """

    def __init__(self, connections: Connections, job_id: int) -> None:
        check_id("job_id", job_id)
        self.store, self.job_id = connections.store, job_id
        job = self.store.job(job_id)
        if job.generate_spec is None:
            raise InputError(f"Job {job_id} is a training job, so it has no rows. See: charrnn-jobs status {job_id}")
        self.spec = job.generate_spec
        self.files = connections.files  # opened last: a training job is refused even if the files do not answer

    def selected(self, **filters: Unpack[RowFilter]) -> Iterator[bytes]:
        """Return an iterator over the lines of some rows.

        Raises:
            InputError: a condition cannot be parsed, a value has the wrong type, or it is not known of any text whether
                it is novel.
        """
        check_keywords("rows", filters, RowFilter.__annotations__)
        for name in ("failed", "novel", "distinct", "follow"):
            check_flag(name, filters.get(name, False))
        if (limit := filters.get("limit")) is not None:
            check_integer("limit", limit, 0, sys.maxsize)
        first, stop = _check_range(filters.get("rows", (0, None)))
        where = check_strings("where", filters.get("where", ()))
        if filters.get("novel"):
            self.check_novelty()
            where = (*where, "novel=true")
        keep = parse_conditions(where)
        failed, follow = filters.get("failed", False), filters.get("follow", False)
        lines = self.lines(first, stop, failed=failed, follow=follow)
        lines = select(lines, keep) if where else lines
        return islice(distinct_lines(lines) if filters.get("distinct") else lines, limit)

    def lines(
        self, first: int = 0, stop: int | None = None, *, failed: bool = False, follow: bool = False
    ) -> Iterator[bytes]:
        """Yield the lines of the rows from `first` to before `stop`.

        Args:
            failed: only the rows of parts that failed for good.
            follow: wait for rows that are not done, instead of leaving them out.

        Raises:
            DamagedError: the parts do not have each row once, or a part's file does not have its rows.
        """
        stop = self.spec.rows if stop is None else min(stop, self.spec.rows)
        wanted = (PartState.FAILED,) if failed else (PartState.DONE, PartState.FAILED)
        if first < stop:
            found = self._parts(first, stop, follow)
            parts = (part for part in found if part.state in wanted)
            for part, data in self._fetched(parts, 0 if follow else self.files.parallel_reads):
                lines = self._part_lines(part, data)
                yield from islice(lines, max(first - part.first_row, 0), stop - part.first_row)

    def check_novelty(self) -> None:
        """Check that it is known which texts are novel.

        Raises:
            InputError: of those sampled so far, it is not known of any.
            DamagedError: the job's report cannot be read.
        """
        report = self.store.report(self.job_id)
        if report and not any(tally.copies.judged for tally in report.temperatures.tallies.values()):
            raise InputError(
                f"It is not known which texts of job {self.job_id} are new: the training text of {self.spec.name} is "
                f"not in this store, or is too large, or all texts have fewer than 24 bytes. Leave out `novel`"
            )

    def _parts(self, row: int, stop: int, follow: bool) -> Iterator[StoredPart]:
        """Yield the parts from the one that has `row` on.

        Meanwhile a part that is waited for may be split. A part that was not done, and is not waited for, may be joined
        with those of the next page: the page then begins with a part that begins before `row`.
        """
        while row < stop:
            page = self.store.parts(self.job_id, first=row)
            if not page:
                raise self._damaged(f"no part has row {row:,}")
            for part in page:
                if row >= stop:
                    break
                begins = part.first_row == row or (part is page[0] and _has(part, row))
                if not begins or part.rows < 1:
                    raise self._damaged(f"no part begins with row {row:,}, or that part has no rows")
                if follow and part.state in UNFINISHED:
                    time.sleep(POLL_S)
                    break
                row = part.first_row + part.rows
                yield part

    def _fetched(self, parts: Iterator[StoredPart], ahead: int) -> Iterator[tuple[StoredPart, bytes | None]]:
        """Yield parts with the bytes of their files, while those of some more are read. None: read it piece by piece.

        A request to a bucket takes 30 ms and more: one after the other, 100,000 part files take 50 minutes.
        """
        if not ahead:
            yield from ((part, None) for part in parts)
            return
        pool = ThreadPoolExecutor(ahead)
        reading: deque[tuple[StoredPart, Future[bytes | None]]] = deque()
        try:
            for part in parts:
                reading.append((part, pool.submit(self._read, part)))
                if len(reading) > ahead:
                    first, data = reading.popleft()
                    yield first, data.result()
            yield from ((part, data.result()) for part, data in reading)
        finally:  # in the web server's event loop, if a viewer has left: it must not wait for the reads in progress
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, part: StoredPart) -> bytes | None:
        output = part.output
        is_small = output is not None and output.size <= MAX_AHEAD and _is_of(part, output)
        return self.files.read(output) if output is not None and is_small else None

    def _part_lines(self, part: StoredPart, data: bytes | None) -> Iterator[bytes]:
        if part.output is not None:
            yield from self._output_lines(part, part.output, data)
            return
        if part.state == PartState.DONE:
            raise self._damaged(f"part {part.number} is done, but names no file")
        spec = self.store.job(self.job_id).generate_spec or self.spec  # read again: an awaited version is now set
        for row in stored_rows(self.files, spec, part):
            yield dump_line(failed_result(row, spec.name, part.error or ""))

    def _output_lines(self, part: StoredPart, output: FileRef, data: bytes | None) -> Iterator[bytes]:
        number, stop = part.first_row, part.first_row + part.rows
        if _is_of(part, output):
            with self.files.open(output) if data is None else BytesIO(data) as file:
                for line in read_lines(file):
                    if number == stop or not line.startswith(b'{"row": %d,' % number):
                        break
                    yield line
                    number += 1
                else:
                    if number == stop:
                        return
        raise self._damaged(f"part {part.number} names {output.name}, which does not have its row {number:,}")

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(f"The database is damaged at job {self.job_id}: {what}")


def _has(part: StoredPart, row: int) -> bool:
    return isinstance(part.first_row, int) and part.first_row <= row < part.first_row + part.rows


def _check_range(rows: object) -> tuple[int, int | None]:
    """Return the first row of a range and the one after its last."""
    if isinstance(rows, tuple | list) and len(rows) == 2:
        first, stop = rows
        check_integer("the first of rows", first, 0, sys.maxsize)
        if stop is not None:
            check_integer("the second of rows", stop, 0, sys.maxsize)
        return first, stop
    raise InputError(f"rows must be two numbers, such as (100, 200) or (100, None). Received: {rows!r:.80}")


def _is_of(part: StoredPart, output: FileRef) -> bool:
    return output.name.startswith(part_prefix(part.job, part.number))

"""The texts of a job: a grid of seeds and temperatures, or a list of those that meet some conditions."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from charrnn.jobs.client import Client
from charrnn.jobs.job.views import Job
from charrnn.jobs.rows.row import Row
from producer.web.requests import job_id, turns
from producer.web.templates import page
from producer.web.views.grid import SHOWN_CELLS, grid_of, read_grid
from producer.web.views.selection import Selection, sampled_spec

SHOWN_SEEDS = 10  # on a page of the grid
SHOWN_ROWS = 50  # on a page of the list
SCANNED_ROWS = 20_000  # for one page of the list: half a second


def texts(request: Request) -> Response:
    """Show texts of a job."""
    client: Client = request.app.state.client
    job = client.job(job_id(request))
    spec = sampled_spec(job)
    grid, wanted = grid_of(spec), Selection.of(request)
    if grid and wanted.is_grid:
        first = wanted.first or 0
        count = max(1, min(SHOWN_SEEDS, SHOWN_CELLS // len(grid.temperatures)))
        rows = read_grid(client, job.id, grid, range(first, min(first + count, grid.seeds)))
        if rows is not None:
            following = turns(request, "first", first + count if first + count < grid.seeds else None)
            return page(request, "grid.html", job=job, spec=spec, rows=rows, wanted=wanted, **following)
        wanted, grid = replace(wanted, as_list=True, first=first * grid.first(1, 0)), None
    found, next_row = _search(client, job, wanted)
    following = turns(request, "first", next_row)
    return page(request, "texts.html", job=job, spec=spec, rows=found, wanted=wanted, grid=grid, **following)


def _search(client: Client, job: Job, wanted: Selection) -> tuple[list[Row], int | None]:
    """Return the rows for one page of the list, and where the next page begins, or None."""
    begin, end = wanted.bounds(job)
    stop = min(end, begin + SCANNED_ROWS)
    found = [Row.from_line(line) for line in islice(wanted.lines(client, job, stop), SHOWN_ROWS + 1)]
    if len(found) > SHOWN_ROWS:
        return found[:SHOWN_ROWS], found[SHOWN_ROWS].row
    return found, stop if stop < end else None

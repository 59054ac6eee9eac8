"""The texts of a job: a grid of seeds and temperatures, or a list of those that meet some conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.job.sizing import MAX_ROWS
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.rows.row import Row
from producer.web.requests import job_id, whole_number
from producer.web.templates import page
from producer.web.views.grid import SHOWN_CELLS, Grid, grid_of, read_grid

SHOWN_SEEDS = 10  # on a page of the grid
SHOWN_ROWS = 50  # on a page of the list
SCANNED_ROWS = 20_000  # for one page of the list: half a second


def texts(request: Request) -> Response:
    """Show texts of a job."""
    client: Client = request.app.state.client
    job = client.job(job_id(request))
    spec = job.generate_spec
    if spec is None:
        raise InputError(f"Job {job.id} is a training job, so it has no texts. Its previews are on its page")
    grid, wanted = grid_of(spec), _Wanted.of(request)
    if grid and wanted.is_grid:
        first = wanted.first or 0
        count = max(1, min(SHOWN_SEEDS, SHOWN_CELLS // len(grid.temperatures)))
        rows = read_grid(client, job.id, grid, range(first, min(first + count, grid.seeds)))
        following = first + count if first + count < grid.seeds else None
        return page(request, "grid.html", job=job, spec=spec, rows=rows, next=following, wanted=wanted)
    found, next_row = _search(client, job.id, spec, grid, wanted)
    return page(request, "texts.html", job=job, spec=spec, rows=found, next=next_row, wanted=wanted, grid=grid)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The texts to show, as they stand in the address.

    Attributes:
        first: the seed of the grid, or row of the list, that comes first.
        seed, temperature: their numbers in the job, from 0.
    """

    first: int | None
    seed: int | None
    temperature: int | None
    distinct: bool
    novel: bool
    failed: bool
    as_list: bool

    @classmethod
    def of(cls, request: Request) -> _Wanted:
        flags = {name: bool(request.query_params.get(name)) for name in ("distinct", "novel", "failed", "as_list")}
        return cls(
            first=whole_number(request, "first", MAX_ROWS),
            seed=whole_number(request, "seed"),
            temperature=whole_number(request, "temperature"),
            **flags,
        )

    @property
    def is_grid(self) -> bool:
        return replace(self, first=None) == _GRID

    def address(self, **changes: object) -> dict[str, object]:
        """Return the values of an address with some of them changed."""
        return vars(self) | changes


_GRID = _Wanted(first=None, seed=None, temperature=None, distinct=False, novel=False, failed=False, as_list=False)


def _search(
    client: Client, job: int, spec: GenerateSpec, grid: Grid | None, wanted: _Wanted
) -> tuple[list[Row], int | None]:
    """Return the rows for one page of the list, and where the next page begins, or None."""
    begin, end, conditions = _bounds(spec, grid, wanted)
    begin = max(begin, wanted.first or 0)
    stop = min(end, begin + SCANNED_ROWS)
    lines = client.results(
        job,
        rows=(min(begin, stop), stop),
        where=conditions,
        failed=wanted.failed,
        novel=wanted.novel,
        distinct=wanted.distinct,
    )
    found = [Row.from_line(line) for line in islice(lines, SHOWN_ROWS + 1)]
    if len(found) > SHOWN_ROWS:
        return found[:SHOWN_ROWS], found[SHOWN_ROWS].row
    return found, stop if stop < end else None


def _bounds(spec: GenerateSpec, grid: Grid | None, wanted: _Wanted) -> tuple[int, int, list[str]]:
    """Return the first row, the one after the last, and the conditions that rows between them must meet."""
    seed, index = wanted.seed, wanted.temperature
    if index is not None and index >= len(spec.sampling.temperatures):
        raise InputError(f"The job has {len(spec.sampling.temperatures)} temperatures. Received: number {index}")
    temperature = [] if index is None else [f"temperature={spec.sampling.temperatures[index]!r}"]
    if seed is None:
        return 0, spec.rows, temperature
    if grid is None or seed >= grid.seeds:
        raise InputError(f"The job has no seed with the number {seed}")
    if index is not None:
        first = grid.first(seed, index)
        return first, first + grid.samples, []
    return grid.first(seed, 0), grid.first(seed + 1, 0), []

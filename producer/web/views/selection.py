"""The texts of a job that a page shows or a download has, as they stand in the address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from starlette.requests import Request

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.job.sizing import MAX_ROWS
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.views import Job
from producer.web.requests import whole_number
from producer.web.views.grid import grid_of


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Some texts of a job.

    Attributes:
        first: the row that comes first; of a grid, the seed.
        seed, temperature: their numbers in the job, from 0.
        as_list: whether to show a list where there could be a grid.
    """

    first: int | None = None
    seed: int | None = None
    temperature: int | None = None
    distinct: bool = False
    novel: bool = False
    failed: bool = False
    as_list: bool = False

    @classmethod
    def of(cls, request: Request) -> Selection:
        flags = {name: bool(request.query_params.get(name)) for name in ("distinct", "novel", "failed", "as_list")}
        return cls(
            first=whole_number(request, "first", MAX_ROWS),
            seed=whole_number(request, "seed"),
            temperature=whole_number(request, "temperature"),
            **flags,
        )

    @property
    def is_grid(self) -> bool:
        return replace(self, first=None) == Selection()

    @property
    def is_filtered(self) -> bool:
        return replace(self, first=None, as_list=False) != Selection()

    def address(self, **changes: object) -> dict[str, object]:
        """Return the values of an address with some of them changed."""
        return vars(self) | changes

    def bounds(self, job: Job) -> tuple[int, int]:
        """Return the first row, and the one after the last.

        Raises:
            InputError: the job is a training job, or has no such seed or temperature.
        """
        spec = sampled_spec(job)
        count = len(spec.sampling.temperatures)
        if self.temperature is not None and self.temperature >= count:
            raise InputError(f"Job {job.id} has no temperature with the number {self.temperature}, counted from 0")
        first, stop = 0, spec.rows
        if self.seed is not None:
            grid = grid_of(spec)
            if grid is None or self.seed >= grid.seeds:
                raise InputError(f"Job {job.id} has no seed with the number {self.seed}, counted from 0")
            index = self.temperature
            first = grid.first(self.seed, index or 0)
            stop = grid.first(self.seed + 1, 0) if index is None else first + grid.samples
        return min(max(first, self.first or 0), stop), stop

    def lines(self, client: Client, job: Job, stop: int | None = None) -> Iterator[bytes]:
        """Return an iterator over the lines of results.

        Args:
            stop: the row after the last one to look at.

        Raises:
            InputError: as `bounds`, or it is not known of any text whether it is novel.
        """
        first, end = self.bounds(job)
        searched = self.temperature is not None and self.seed is None
        where = [f"temperature={sampled_spec(job).sampling.temperatures[self.temperature or 0]!r}"] if searched else []
        return client.results(
            job.id,
            rows=(first, end if stop is None else stop),
            where=where,
            failed=self.failed,
            novel=self.novel,
            distinct=self.distinct,
        )


def sampled_spec(job: Job) -> GenerateSpec:
    """Return the spec of a job that has texts.

    Raises:
        InputError: it is a training job.
    """
    if job.generate_spec is None:
        raise InputError(f"Job {job.id} is a training job, so it has no texts. Its previews are on its page")
    return job.generate_spec

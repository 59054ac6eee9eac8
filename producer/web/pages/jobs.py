"""Jobs: the list, one job, its parts, its report, and its rows as a download."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from charrnn.jobs.client import Client
from charrnn.jobs.job.specs import QUEUES
from charrnn.jobs.job.states import JobState
from charrnn.jobs.rows import formats
from charrnn.jobs.upkeep.listing import JobFilter
from producer.output.progress import Pace
from producer.web.feeds import Fragment
from producer.web.report import POLICY, job_report
from producer.web.requests import event_stream, job_id, turns, whole_number
from producer.web.templates import page, render
from producer.web.views.job import view
from producer.web.views.selection import Selection

PAGE = 50  # jobs or parts
TYPES = {
    formats.JSONL: "application/x-ndjson",
    formats.CSV: "text/csv; charset=utf-8",
    formats.TXT: "text/plain; charset=utf-8",
    formats.PARQUET: "application/vnd.apache.parquet",
}


def _filters(request: Request) -> JobFilter:
    """Return which jobs to list, as they stand in the address."""
    values: dict[str, Any] = {name: request.query_params.get(name) or None for name in JobFilter.__annotations__}
    return cast(JobFilter, {**values, "with_failures": values["with_failures"] is not None})


def _listed(request: Request, filters: JobFilter) -> dict[str, Any]:
    client: Client = request.app.state.client
    found = client.jobs(PAGE + 1, before=whole_number(request, "before"), **filters)
    return {
        "jobs": found[:PAGE],
        "num_troubles": len(client.schedules.find_troubles()),
        "filters": filters,
        **turns(request, "before", found[PAGE - 1].id if len(found) > PAGE else None),
    }


def listing(request: Request) -> Response:
    """Show jobs, newest first."""
    filters, before = _filters(request), whole_number(request, "before")
    values = _listed(request, filters)
    choices = {"state": [str(state) for state in JobState], "kind": QUEUES}
    return page(request, "jobs.html", choices=choices, before=before, **values)


async def listing_events(request: Request) -> Response:
    """Send the first page of the list whenever it changes."""
    filters = _filters(request)
    first = Request({**request.scope, "query_string": b""})  # viewers share what is read: the page of none of them

    def read() -> Fragment:
        return Fragment(render("_jobs.html", **_listed(first, filters)))

    return event_stream(request, ("jobs", *filters.values()), read)


def details(request: Request) -> Response:
    """Show one job."""
    found = view(request.app.state.client, job_id(request))
    return page(request, "job.html", view=found)


async def events(request: Request) -> Response:
    """Send what changes on the page of one job."""
    job, client = job_id(request), request.app.state.client
    pace = Pace()

    def read() -> Fragment:
        found = view(client, job, pace)
        html = render("_job.html", view=found, allow_writes=request.app.state.allow_writes)
        return Fragment(html, final=found.job.ended)

    return event_stream(request, ("job", job), read)


def parts(request: Request) -> Response:
    """Show the parts of a job, a page at a time."""
    client: Client = request.app.state.client
    job = client.job(job_id(request))
    found = client.connections.store.parts(job.id, first=whole_number(request, "row") or 0, limit=PAGE + 1)
    next_row = found[PAGE].first_row if len(found) > PAGE else None
    return page(request, "parts.html", job=job, parts=found[:PAGE], **turns(request, "row", next_row))


def download(request: Request) -> Response:
    """Send the rows that are done, or some of them, as a file."""
    client: Client = request.app.state.client
    format = request.path_params["format"]  # noqa: A001
    job = client.job(job_id(request))
    pieces = formats.encode(Selection.of(request).lines(client, job), format)
    first = list(islice(pieces, 1))  # an error becomes a page, as long as nothing was sent
    name = f"job-{job.id}{'' if job.ended else '-so-far'}.{format}"
    return StreamingResponse(
        (piece for piece, _ in chain(first, pieces)),
        media_type=TYPES[format],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def report(request: Request) -> Response:
    """Send the report of a job, which is one file."""
    client: Client = request.app.state.client
    job = job_id(request)
    html = job_report(client, job)
    headers = {
        "Content-Disposition": f'attachment; filename="job-{job}-report.html"',
        "Content-Security-Policy": POLICY,
    }
    return Response(html, media_type="text/html", headers=headers)

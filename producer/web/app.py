"""The application: its addresses, its errors, and what all pages share."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from charrnn.errors import CharrnnError, DamagedError, InputError, NotFoundError, UnreachableError
from charrnn.jobs.client import Client
from producer.web import templates
from producer.web.access import LOGIN, Access, Token
from producer.web.feeds import Feeds
from producer.web.pages import actions, gallery, jobs, login, metrics, models, schedules, submit, workers

STATUS: dict[type[CharrnnError], HTTPStatus] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    DamagedError: HTTPStatus.INTERNAL_SERVER_ERROR,
    InputError: HTTPStatus.BAD_REQUEST,
    UnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
}

MESSAGES = {
    HTTPStatus.NOT_FOUND: "There is no such page.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "This is an error of the web interface itself. Its server has logged the cause.",
}

READS = [
    Route("/", jobs.listing),
    Route("/events/jobs", jobs.listing_events),
    Route("/jobs/{id}", jobs.details),
    Route("/events/jobs/{id}", jobs.events),
    Route("/jobs/{id}/parts", jobs.parts),
    Route("/jobs/{id}/results.{format}", jobs.download),
    Route("/jobs/{id}/report.html", jobs.report),
    Route("/jobs/{id}/texts", gallery.texts),
    Route("/models", models.listing),
    Route("/compare", models.compare),
    Route("/models/{reference}", models.details),
    Route("/schedules", schedules.listing),
    Route("/events/schedules", schedules.events),
    Route("/schedules/{name}", schedules.details),
    Route("/events/schedules/{name}", schedules.details_events),
    Route("/workers", workers.listing),
    Route("/events/workers", workers.events),
    Route("/metrics", metrics.scrape),
]
WRITES = [
    Route("/submit", submit.form, methods=["GET", "POST"]),
    Route("/jobs/{id}/{verb}", actions.job, methods=["GET", "POST"]),
    Route("/models/{reference}/promote", actions.promote, methods=["GET", "POST"]),
    Route("/schedules/{name}/{verb}", actions.schedule, methods=["GET", "POST"]),
]


def create_app(
    client: Client,
    feeds: Feeds,
    *,
    allow_writes: bool = False,
    token: Token | None = None,
    hosts: Collection[str] = (),
) -> ASGIApp:
    """Return the web interface as an ASGI application.

    Args:
        client: it is shared by all requests, and stays open.
        feeds: the live parts; who stops the server closes them.
        allow_writes: whether jobs can be submitted, cancelled and so on.
        token: needed to see anything; None: everybody who reaches the address may.
        hosts: further names by which browsers reach it.
    """
    app = Starlette(
        routes=[
            *READS,
            *(WRITES if allow_writes else []),
            Route(LOGIN, login.login, methods=["GET", "POST"]),
            Mount("/static", StaticFiles(directory=templates.STATIC)),
        ],
        exception_handlers={CharrnnError: _failed, HTTPException: _refused, Exception: _refused},
    )
    app.state.client, app.state.feeds = client, feeds
    app.state.exposition = metrics.exposition(client)
    app.state.allow_writes, app.state.token = allow_writes, token
    return Access(app, token=token, hosts=hosts)


def _failed(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), HTTPStatus.CONFLICT)
    return templates.page(request, "error.html", status_code=status, title=status.phrase, message=str(error))


def _refused(request: Request, error: Exception) -> Response:
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    message = MESSAGES.get(status, status.description)
    return templates.page(request, "error.html", status_code=status, title=status.phrase, message=message)

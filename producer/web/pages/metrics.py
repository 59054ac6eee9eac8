"""Metrics for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.upkeep.metrics import open_exposition

if TYPE_CHECKING:
    from charrnn.jobs.upkeep.metrics.scrape import Exposition


def exposition(client: Client) -> Exposition | str:
    """Return the metrics of a client's store, or why there are none."""
    try:
        return open_exposition(client.connections)
    except InputError as error:
        return str(error)


def scrape(request: Request) -> Response:
    """Show the metrics of this moment."""
    metrics = request.app.state.exposition
    if isinstance(metrics, str):
        return PlainTextResponse(f"{metrics}\n", 501)
    text, content_type = metrics.render(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": content_type})

"""Metrics for Prometheus."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from charrnn.jobs.client import Client

if TYPE_CHECKING:
    from charrnn.jobs.upkeep.metrics.scrape import Exposition

MISSING = "Metrics need the extra metrics. Install it: pip install 'charrnn-jobs[metrics]'\n"


def exposition(client: Client) -> Exposition | None:
    """Return the metrics of a client's store, or None if the extra is not installed."""
    if find_spec("prometheus_client") is None:
        return None
    from charrnn.jobs.upkeep.metrics.scrape import Exposition

    return Exposition(client.connections)


def scrape(request: Request) -> Response:
    """Show the metrics of this moment."""
    metrics = request.app.state.exposition
    if metrics is None:
        return PlainTextResponse(MISSING, 501)
    text, content_type = metrics.render(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": content_type})

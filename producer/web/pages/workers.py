"""Workers: the processes that showed a sign of life recently, and what each has in work."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from charrnn.jobs.client import Client
from charrnn.jobs.store.shown import queues
from producer.web.feeds import Fragment
from producer.web.requests import event_stream
from producer.web.templates import page, render


def listing(request: Request) -> Response:
    """Show all workers."""
    return page(request, "workers.html", **_listed(request.app.state.client))


def _listed(client: Client) -> dict[str, Any]:
    workers = client.workers()
    in_work: dict[str, list[int]] = defaultdict(list)
    with client.connections.store.read() as connection:
        for owner, job in queues.work_of(connection, [worker.owner for worker in workers]):
            in_work[owner].append(job)
    return {"workers": workers, "in_work": in_work}


async def events(request: Request) -> Response:
    """Send the list whenever it changes."""
    client = request.app.state.client
    return event_stream(request, "workers", lambda: Fragment(render("_workers.html", **_listed(client))))

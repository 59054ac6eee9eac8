"""Schedules: the list, and one with its runs."""

from __future__ import annotations

import shlex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from charrnn.jobs.client import Client
from producer.command_line import request_words
from producer.web.feeds import Fragment
from producer.web.requests import event_stream
from producer.web.templates import page, render


def listing(request: Request) -> Response:
    """Show all schedules with their last runs."""
    return page(request, "schedules.html", **_listed(request.app.state.client))


def _listed(client: Client) -> dict[str, Any]:
    return {"schedules": client.schedules.list(), "troubles": client.schedules.find_troubles()}


async def events(request: Request) -> Response:
    """Send the list whenever it changes."""
    client = request.app.state.client
    return event_stream(request, "schedules", lambda: Fragment(render("_schedules.html", **_listed(client))))


def details(request: Request) -> Response:
    """Show one schedule."""
    client: Client = request.app.state.client
    found = client.schedules.show(request.path_params["name"])
    command = found.unreadable or shlex.join(request_words(found.request))
    return page(request, "schedule.html", schedule=found, command=command)

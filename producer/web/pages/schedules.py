"""Schedules: the list, and one with its runs."""

from __future__ import annotations

import shlex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from charrnn.jobs.client import Client
from producer.command_line import command_words
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
    return page(request, "schedule.html", **_shown(request.app.state.client, request.path_params["name"]))


def _shown(client: Client, name: str) -> dict[str, Any]:
    found = client.schedules.show(name)
    return {"schedule": found, "command": found.unreadable or shlex.join(command_words(found.schedule()))}


async def details_events(request: Request) -> Response:
    """Send what changes on the page of one schedule."""
    client, name = request.app.state.client, request.path_params["name"]
    writes = request.app.state.allow_writes

    def read() -> Fragment:
        return Fragment(render("_schedule.html", allow_writes=writes, **_shown(client, name)))

    return event_stream(request, ("schedule", name), read)

"""Connections of the web interface: a limit on their number, and on the time in which one must send a request.

Whoever connects needs no token yet. At the system's limit of open files, asyncio would accept nobody for as long as it
lasts, log an error thousands of times a minute, and not recover when the connections have gone.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 2_000
BACKLOG = 64  # connections that are accepted at once, before any of them can be ended; up to four times that are open
REQUEST_S = 10.0  # in which the head of a request must arrive


def most_connections() -> int:
    """Return how many connections may be open: at most half of the process's files, since pages need files too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)


class Connection(H11Protocol):
    """A connection that is ended if it sends no whole request in time, or if it is the one that has sent none for the
    longest time when another one needs its place."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._idle_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._wait_for_request()
        if len(self.connections) > most_connections():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_request()

    def _wait_for_request(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._idle_since = self.loop.time()
        self._timer = self.loop.call_later(REQUEST_S, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self.is_idle:
            self.transport.abort()

    def _make_room(self) -> None:
        """End the connection that has been idle for the longest time: whoever needs a page asks for it at once."""
        idle = [each for each in self.connections if isinstance(each, Connection) and each.is_idle]
        ended = min(idle, key=lambda each: each._idle_since, default=self)
        self.connections.discard(ended)  # it counts until it is lost
        ended.transport.abort()

"""Live fragments of pages: each is read once a second for all who look at it, and sent to them when it changes.

A fragment is a server-sent event of the type that htmx puts into the page. When it will not change any more, the event
`ended` closes the connection, which htmx would otherwise open again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

from anyio import CapacityLimiter, to_thread

POLL_S = 1.0  # seconds between two reads of one fragment
SILENCE_S = 15.0  # seconds without a change after which a comment finds out who has left
MAX_VIEWERS = 1_000  # connections
MAX_FRAGMENTS = 100  # each is read once a second
THREADS = 4  # that read fragments, so that a store that hangs leaves threads for pages
ENDED = "event: ended\ndata: ended\n\n"


@dataclass(frozen=True)
class Fragment:
    """A piece of a page as HTML. If it is `final`, it will not change any more."""

    html: str
    final: bool = False

    @cached_property
    def event(self) -> str:
        """The fragment as an event: each of its lines, with any of the three line ends, is a line of data."""
        return "".join(f"data: {line}\n" for line in re.split(r"\r\n|\r|\n", self.html)) + "\n"


Read = Callable[[], Fragment]


class Feeds:
    """The live fragments that somebody looks at."""

    def __init__(self) -> None:
        self._closed = False
        self._feeds: dict[Hashable, _Feed] = {}
        self._limiter = CapacityLimiter(THREADS)

    @property
    def viewers(self) -> int:
        return sum(feed.viewers for feed in self._feeds.values())

    def is_full(self, key: Hashable) -> bool:
        """Return whether there are too many viewers, or too many fragments to add this one, or the server stops."""
        return (
            self._closed
            or self.viewers >= MAX_VIEWERS
            or (key not in self._feeds and len(self._feeds) >= MAX_FRAGMENTS)
        )

    async def close(self) -> None:
        """End all streams, since the server stops."""
        self._closed = True
        for feed in list(self._feeds.values()):
            await feed.close()

    async def follow(self, key: Hashable, read: Read) -> AsyncIterator[str]:
        """Yield server-sent events: the fragment now, and each time that it has changed.

        Args:
            key: names the fragment. Viewers with equal keys share what is read.
            read: called in a thread. It does not raise.

        """
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(read, self._limiter)
        feed.viewers += 1
        try:
            async for event in feed.events():
                yield event
        finally:
            feed.viewers -= 1
            if not feed.viewers:
                feed.stop()
                del self._feeds[key]


class _Feed:
    """One live fragment, and the task that reads it."""

    def __init__(self, read: Read, limiter: CapacityLimiter) -> None:
        self.viewers = 0
        self._read, self._limiter = read, limiter
        self._fragment: Fragment | None = None
        self._closed = False
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._poll())

    def stop(self) -> None:
        self._task.cancel()

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def events(self) -> AsyncIterator[str]:
        seen: Fragment | None = None
        while seen is None or not seen.final:
            try:
                found = await asyncio.wait_for(self._next(seen), SILENCE_S)
            except TimeoutError:
                yield ": \n\n"
                continue
            if found is None:
                return
            seen = found
            yield seen.event
        yield ENDED

    async def _next(self, seen: Fragment | None) -> Fragment | None:
        """Wait until the fragment is another one than a viewer has seen, and return it. None: the server stops."""
        async with self._changed:
            while self._fragment is None or self._fragment is seen:
                if self._closed:
                    return None
                await self._changed.wait()
            return self._fragment

    async def _poll(self) -> None:
        while self._fragment is None or not self._fragment.final:
            fragment = await to_thread.run_sync(self._read, limiter=self._limiter)
            if fragment != self._fragment:
                async with self._changed:
                    self._fragment = fragment
                    self._changed.notify_all()
            await asyncio.sleep(POLL_S)

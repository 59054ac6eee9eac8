"""Live parts of pages: each is read once a second for all who look at it, and sent to them when it changes.

A part is a server-sent event of the type that htmx puts into the page. When it will not change any more, the event
`ended` closes the connection, which htmx would otherwise open again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from charrnn.errors import InputError

POLL_S = 1.0  # seconds between two reads of one part
SILENCE_S = 15.0  # seconds without a change after which a comment finds out who has left
MAX_VIEWERS = 1_000  # connections; each takes 30 kB
ENDED = "event: ended\ndata: ended\n\n"


@dataclass(frozen=True)
class Fragment:
    """A part of a page. If it is `final`, it will not change any more."""

    html: str
    final: bool = False


Read = Callable[[], Fragment]


class Feeds:
    """The live parts that somebody looks at."""

    def __init__(self) -> None:
        self._feeds: dict[Hashable, _Feed] = {}

    @property
    def viewers(self) -> int:
        return sum(feed.viewers for feed in self._feeds.values())

    async def close(self) -> None:
        """End all streams, since the server stops."""
        for feed in list(self._feeds.values()):
            await feed.close()

    async def follow(self, key: Hashable, read: Read) -> AsyncIterator[str]:
        """Yield server-sent events: the part now, and each time that it has changed.

        Args:
            key: names the part. Viewers with equal keys share what is read.
            read: called in a thread.

        Raises:
            InputError: too many connections are open.
        """
        if self.viewers >= MAX_VIEWERS:
            raise InputError(f"{MAX_VIEWERS:,} browser tabs are open. Close some, or reload this page later")
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed(read)
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
    """One live part, and the task that reads it."""

    def __init__(self, read: Read) -> None:
        self.viewers = 0
        self._read = read
        self._fragment: Fragment | None = None
        self._failure: Exception | None = None
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
            yield _event(seen.html)
        yield ENDED

    async def _next(self, seen: Fragment | None) -> Fragment | None:
        """Wait until the part is another one than a viewer has seen, and return it. None: the server stops."""
        async with self._changed:
            while self._fragment is None or self._fragment is seen:
                if self._closed:
                    return None
                if self._failure is not None:
                    raise self._failure
                await self._changed.wait()
            return self._fragment

    async def _poll(self) -> None:
        while self._fragment is None or not self._fragment.final:
            fragment = self._fragment
            try:
                fragment = await run_in_threadpool(self._read)
            except Exception as error:  # for the viewers, who would wait for ever
                self._failure = error
            if self._failure or fragment != self._fragment:
                async with self._changed:
                    self._fragment = fragment
                    self._changed.notify_all()
            if self._failure:
                return
            await asyncio.sleep(POLL_S)


def _event(html: str) -> str:
    """Return HTML as an event: each of its lines, with any of the three line ends, is a line of data."""
    return "".join(f"data: {line}\n" for line in re.split(r"\r\n|\r|\n", html)) + "\n"

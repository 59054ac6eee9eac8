"""Live parts: one read for all viewers, an event for each change, an end, and nothing left when all have gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from producer.web import feeds
from producer.web.feeds import ENDED, Feeds, Fragment


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "POLL_S", 0.001)


def run(test: Callable[[Feeds], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        found = Feeds()
        await test(found)
        assert found.viewers == 0
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            _, pending = await asyncio.wait(left, timeout=5)
            assert not pending

    asyncio.run(whole())


async def events(found: Feeds, read: feeds.Read, key: str = "job") -> list[str]:
    return [event async for event in found.follow(key, read) if event != ": \n\n"]


def counting(last: int) -> tuple[feeds.Read, list[int]]:
    """Return a part that is another one at each read, until its last one."""
    reads: list[int] = []

    def read() -> Fragment:
        reads.append(len(reads))
        return Fragment(f"read {len(reads)}", final=len(reads) == last)

    return read, reads


def test_a_hundred_viewers_cost_as_many_reads_as_one() -> None:
    async def test(found: Feeds) -> None:
        read, reads = counting(20)
        viewers = await asyncio.gather(*(events(found, read) for _ in range(100)))
        assert len(reads) == 20  # Catches: a poll for each viewer
        for seen in viewers:
            assert seen[-2:] == ["data: read 20\n\n", ENDED]

    run(test)


def test_what_does_not_change_is_not_sent_again() -> None:
    async def test(found: Feeds) -> None:
        reads = iter([Fragment("a")] * 5 + [Fragment("b")] * 5 + [Fragment("c", final=True)])
        assert await events(found, lambda: next(reads)) == ["data: a\n\n", "data: b\n\n", "data: c\n\n", ENDED]

    run(test)


def test_who_comes_later_sees_the_part_at_once_and_different_parts_do_not_mix() -> None:
    async def test(found: Feeds) -> None:
        ended = asyncio.Event()
        first = found.follow("job", lambda: Fragment("same", final=ended.is_set()))
        assert await anext(first) == "data: same\n\n"
        second = found.follow("job", lambda: Fragment("not read"))
        assert await anext(second) == "data: same\n\n"
        assert await events(found, lambda: Fragment("other", final=True), "other") == ["data: other\n\n", ENDED]
        ended.set()
        assert [event async for event in first][-1] == ENDED
        await second.aclose()  # type: ignore[attr-defined]  # as the server does when a viewer has left

    run(test)


def test_lines_of_any_kind_stay_inside_the_event() -> None:
    async def test(found: Feeds) -> None:
        read = lambda: Fragment("a\r\nb\rc\n\nevent: ended", final=True)  # noqa: E731
        assert await events(found, read) == ["data: a\ndata: b\ndata: c\ndata: \ndata: event: ended\n\n", ENDED]

    run(test)


def test_a_silent_part_finds_out_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(found: Feeds) -> None:
        stream = found.follow("job", lambda: Fragment("same"))
        assert await anext(stream) == "data: same\n\n"
        monkeypatch.setattr(feeds, "SILENCE_S", 0.01)
        assert await anext(stream) == ": \n\n"
        await stream.aclose()  # type: ignore[attr-defined]

    run(test)


@pytest.mark.parametrize(("limit", "others"), [("MAX_VIEWERS", True), ("MAX_FRAGMENTS", False)])
def test_there_are_at_most_so_many_viewers_and_fragments(
    monkeypatch: pytest.MonkeyPatch, limit: str, others: bool
) -> None:
    monkeypatch.setattr(feeds, limit, 1)

    async def test(found: Feeds) -> None:
        assert not found.is_full("job")
        stream = found.follow("job", lambda: Fragment("same"))
        await anext(stream)
        assert found.is_full("job") == others
        assert found.is_full("other")
        await stream.aclose()  # type: ignore[attr-defined]

    run(test)


def test_streams_end_when_the_server_stops() -> None:
    async def test(found: Feeds) -> None:
        stream = found.follow("job", lambda: Fragment("a"))
        assert await anext(stream) == "data: a\n\n"
        await found.close()
        assert [event async for event in stream] == []  # Catches: a server that waits for its viewers

    run(test)

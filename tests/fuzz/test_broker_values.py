"""Fuzz targets for what others may write into the broker: messages, and the project's own keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import strategies as st
from kombu import transport
from kombu.connection import Connection
from kombu.message import Message

from charrnn.jobs.job.specs import QUEUES
from charrnn.jobs.queue import TASK, Queue
from charrnn.jobs.settings import Settings
from tests.fixtures.keys import KEY_PREFIX, STORE_KEY
from tests.fixtures.processes import Home
from tests.fixtures.refusals import broker, stored
from tests.fuzz.exploration import Check, Exploration, check_said
from tests.fuzz.mutations import documents, odd_texts
from worker.transport import make_celery

QUEUE = "generate"
LIST = f"{KEY_PREFIX}{QUEUE}"
OWNER = STORE_KEY
KEYS = (OWNER, *(KEY_PREFIX + queue for queue in QUEUES), f"{KEY_PREFIX}unacked", f"{KEY_PREFIX}unacked_index")
MEMBERS = f"{KEY_PREFIX}_kombu.binding.{QUEUE}"  # the queues that Kombu knows

Value = bytes | list[bytes] | dict[bytes, bytes] | set[bytes]


@pytest.fixture
def connection(fuzz_home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """The connection of a consumer, as the parent of a worker opens it."""
    monkeypatch.setattr(transport, "_transport_cache", {})  # this process has already cached Kombu's own transport
    monkeypatch.setitem(transport.TRANSPORT_ALIASES, "redis", "worker.transport:Transport")
    with make_celery(Settings(home=fuzz_home.path)) as app, app.connection_for_read() as connection:
        yield connection


def test_messages(exploration: Exploration, fuzz_home: Home, connection: Connection) -> None:
    """Each is followed by a doorbell: a consumer that an unreadable message ends does not take it."""
    taken: list[Message] = []
    connection.default_channel.basic_consume(QUEUE, True, taken.append, "tag")  # type: ignore[no-untyped-call]
    queue = Queue(Settings(home=fuzz_home.path))
    with broker(fuzz_home) as client:
        queue.ring(QUEUE, 1)
        genuine: dict[str, Any] = json.loads(client.rpop(LIST))

        def check(message: bytes) -> None:
            taken.clear()
            client.lpush(LIST, message)
            queue.ring(QUEUE, 1)
            while client.llen(LIST) or not taken:
                connection.drain_events(timeout=5)  # type: ignore[no-untyped-call]
            for found in taken:
                assert (found.headers["task"], json.loads(found.body)) == (TASK, [[QUEUE], {}, {}])

        exploration.run(documents(genuine), check)
    queue.close()


def write(client: redis.Redis, key: str, value: Value) -> None:
    client.delete(key)
    if isinstance(value, bytes):
        client.set(key, value)
    elif isinstance(value, list):
        client.rpush(key, *value)
    elif isinstance(value, dict):
        client.hset(key, items=[item for pair in value.items() for item in pair])
    else:
        client.sadd(key, *value)


def check_commands(home: Home, client: redis.Redis) -> Check[tuple[str, Value, bool]]:
    """Return a check that a key with any value ends no command with a traceback, and that submit stores nothing."""

    def check(drawn: tuple[str, Value, bool]) -> None:
        key, value, empty = drawn
        before = stored(home)
        write(client, key, value)
        try:
            check_said(home.call("doctor"), [0, 4])
            check_said(home.call("submit", "-m", "tiny", "--dry-run"), [0, 2, 4])
            if empty:  # a database that was lost, so that the broker tells which store it serves
                other = Home(
                    home.path, {**home.settings, "CHARRNN_STORE_URL": f"sqlite:///{home.path / 'other.sqlite'}"}
                )
                check_said(other.call("jobs"), [0, 2, 4])
        finally:
            client.delete(key)
        assert stored(home) == before

    return check


def test_keys(exploration: Exploration, fuzz_home: Home) -> None:
    text = odd_texts().map(lambda text: text.encode(errors="surrogatepass"))
    scalar = text | st.binary(max_size=40) | st.sampled_from([b"x" * (1 << 26), b"id " + b"\x1b" * (1 << 20)])
    value = (
        scalar
        | scalar
        | st.lists(text, min_size=1, max_size=3)
        | st.dictionaries(text, text, min_size=1, max_size=3)
        | st.sets(text, min_size=1, max_size=3)
    )
    with broker(fuzz_home) as client:
        keys = st.sampled_from([OWNER, *KEYS, MEMBERS])
        exploration.run(st.tuples(keys, value, st.booleans()), check_commands(fuzz_home, client))

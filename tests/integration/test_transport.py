"""Methods of Kombu that worker/transport.py replaces: they exist, and a consumer of a real broker calls them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import pytest
import redis
from kombu import transport
from kombu.connection import Connection
from kombu.message import Message
from kombu.transport import redis as kombus

from charrnn.jobs.queue import TASK, Queue
from charrnn.jobs.settings import Settings
from tests.fixtures.keys import KEY_PREFIX
from worker.transport import Channel, QoS, Transport, make_celery

QUEUE = "generate"
LIST, IN_HAND = f"{KEY_PREFIX}{QUEUE}", f"{KEY_PREFIX}unacked"


@pytest.fixture
def connection(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """The connection of a consumer, as the parent of a worker opens it."""
    monkeypatch.setattr(transport, "_transport_cache", {})  # this process has already cached Kombu's own transport
    monkeypatch.setitem(transport.TRANSPORT_ALIASES, "redis", "worker.transport:Transport")
    with make_celery(settings) as app, app.connection_for_read() as connection:
        yield connection


@pytest.fixture
def broker(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
        yield client


def consume(connection: Connection) -> Message:
    """Return the next message of QUEUE without acknowledging it."""
    taken: list[Message] = []
    connection.default_channel.basic_consume(QUEUE, False, taken.append, "tag")
    while not taken:
        connection.drain_events(timeout=200)
    return taken[0]


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (kombus.Channel._brpop_read, ["self", "options"]),
        (kombus.Transport._deliver, ["self", "message", "queue"]),
        (kombus.Transport.establish_connection, ["self"]),
        (kombus.QoS.restore_by_tag, ["self", "tag", "client", "leftmost"]),
        (kombus.QoS._remove_from_indices, ["self", "delivery_tag", "pipe"]),
    ],
)
def test_kombu_has_the_methods_that_are_replaced_or_called(
    method: Callable[..., object], parameters: list[str]
) -> None:
    assert list(inspect.signature(method).parameters) == parameters


def test_brpop_read_reads_what_a_consumer_takes(
    connection: Connection, broker: redis.Redis, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    # Catches: a Channel whose _brpop_read is never called: a message that is not JSON ends the worker
    broker.lpush(LIST, b"garbage")
    queue.ring(QUEUE, 1)
    assert isinstance(connection.default_channel, Channel)
    assert consume(connection).headers["task"] == TASK
    assert [record.message[:32] for record in caplog.records] == ["dropped an unreadable message: E"]


def test_a_consumer_takes_and_keeps_only_what_has_its_prefix(
    settings: Settings, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_transport_cache", {})
    monkeypatch.setitem(transport.TRANSPORT_ALIASES, "redis", "worker.transport:Transport")
    queues = [Queue(replace(settings, redis_prefix=prefix)) for prefix in ("team-a", "team-b")]
    for queue in queues:
        queue.ring(QUEUE, 2)
    with make_celery(replace(settings, redis_prefix="team-a")) as app, app.connection_for_read() as connection:
        consume(connection)
        # Catches: a prefix that the settings do not change, for Kombu's keys or for ours
        assert [queue.lengths()[QUEUE] for queue in queues] == [1, 2]
        assert (broker.hlen("team-a:unacked"), broker.hlen("team-b:unacked")) == (1, 0)
        keys = cast("list[bytes]", broker.keys())
        assert {key.split(b":")[0] for key in keys} == {b"team-a", b"team-b"}
    for queue in queues:
        queue.close()


def test_deliver_replaces_what_a_consumer_takes(
    connection: Connection, broker: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    # Catches: a Transport whose _deliver is never called: Celery trusts any message
    broker.lpush(LIST, b'{"headers": {"task": "os.system"}}')
    assert isinstance(connection.transport, Transport)
    message = consume(connection)
    assert (message.headers["task"], message.decode()) == (TASK, [[QUEUE], {}, {}])
    assert "treated an unexpected message as a notification" in caplog.text


def test_restore_by_tag_forgets_what_a_consumer_did_not_acknowledge(
    connection: Connection, broker: redis.Redis, queue: Queue
) -> None:
    # Catches: a QoS whose restore_by_tag is never called: any message is requeued, and ends the next worker too
    queue.ring(QUEUE, 1)
    consume(connection)
    assert isinstance(connection.default_channel.qos, QoS)
    assert broker.hlen(IN_HAND) == 1
    connection.close()
    assert (broker.hlen(IN_HAND), broker.llen(LIST)) == (0, 0)


def test_establish_connection_reports_each_attempt(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a worker without a sign of life while its broker is away
    attempts: list[None] = []
    monkeypatch.setattr(Transport, "on_connecting", staticmethod(lambda: attempts.append(None)))
    connection.ensure_connection(max_retries=1)
    assert len(attempts) == 1


def test_a_doorbell_gives_no_warning(connection: Connection, queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    # Catches: a doorbell that the transport does not know, so that each notification causes a warning
    caplog.set_level(logging.WARNING)
    queue.ring(QUEUE, 1)
    consume(connection)
    assert caplog.records == []

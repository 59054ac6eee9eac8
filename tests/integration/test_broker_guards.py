"""Passwords, rights and TLS of a broker: messages about refusals, and warnings of doctor."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from kombu import transport

from charrnn.errors import UnreachableError
from charrnn.jobs.queue import Queue
from charrnn.jobs.settings import Settings
from tests.fixtures.broker import StartBroker
from worker.transport import make_celery

ACL = (Path(__file__).parents[2] / "deploy" / "redis.acl").read_text()
PASSWORD = secrets.token_hex(8)
GUARDED = ("--requirepass", PASSWORD, "--appendonly", "yes")

Connect = Callable[[str], Queue]


def warnings(queue: Queue) -> dict[str, str]:
    return {warning.name: warning.advice for warning in queue.warnings()}


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    queues: list[Queue] = []

    def queue_of(url: str) -> Queue:
        queues.append(Queue(Settings(home=tmp_path, redis_url=url)))
        return queues[-1]

    yield queue_of
    for queue in queues:
        queue.close()


@pytest.mark.parametrize("login", ["", ":wrong@", f"nobody:{PASSWORD}@"], ids=["none", "wrong", "nobody"])
def test_a_wrong_password_is_not_reported_as_an_unreachable_broker(
    connect: Connect, start_broker: StartBroker, login: str
) -> None:
    # Catches: "Start your Redis server" in a message about a server that runs
    queue = connect(f"redis://{login}{start_broker(*GUARDED)}/0")
    with pytest.raises(UnreachableError, match="rejects the user or password in CHARRNN_REDIS_URL") as refused:
        queue.lengths()
    assert PASSWORD not in str(refused.value)


def test_a_missing_right_is_named(connect: Connect, start_broker: StartBroker) -> None:
    place = start_broker("--user", "weak", "on", f">{PASSWORD}", "~*", "+@all", "-llen")
    with pytest.raises(UnreachableError, match="denies its user a required permission: .*'llen'.* deploy/redis.acl"):
        connect(f"redis://weak:{PASSWORD}@{place}/0").lengths()


def test_tls_on_a_port_without_tls_is_reported(connect: Connect, start_broker: StartBroker) -> None:
    with pytest.raises(UnreachableError, match="Use rediss:// in CHARRNN_REDIS_URL for a port with TLS"):
        connect(f"rediss://{start_broker()}/0").lengths()


def test_a_broker_that_is_open_and_forgets_is_warned_of(connect: Connect, start_broker: StartBroker) -> None:
    found = warnings(connect(f"redis://{start_broker('--maxmemory-policy', 'allkeys-lru')}/0"))
    assert found.keys() == {"broker password", "broker memory", "broker disk"}
    assert "noeviction instead of allkeys-lru" in found["broker memory"]


def test_an_open_broker_is_reported_even_if_the_client_has_a_password(
    connect: Connect, start_broker: StartBroker
) -> None:
    # Catches: a check of the URL alone, whose user is one of two
    place = start_broker("--appendonly", "yes", "--user", "ours", "on", f">{PASSWORD}", "~*", "+@all")
    assert warnings(connect(f"redis://ours:{PASSWORD}@{place}/0")).keys() == {"broker password"}


def test_a_guarded_broker_gives_no_warning(connect: Connect, start_broker: StartBroker) -> None:
    assert not warnings(connect(f"redis://:{PASSWORD}@{start_broker(*GUARDED)}/0"))


def test_the_broker_of_up_gives_no_warning(queue: Queue) -> None:
    assert not warnings(queue)


def test_dropping_an_unacknowledged_message_needs_no_right(
    connect: Connect, start_broker: StartBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: Kombu's way to requeue it, by WATCH and RPUSH; maintenance sends the notification again
    monkeypatch.setattr(transport, "_transport_cache", {})  # this process has already cached Kombu's own transport
    monkeypatch.setitem(transport.TRANSPORT_ALIASES, "redis", "worker.transport:Transport")
    rights = re.findall(r" (\+\S+)", next(line for line in ACL.splitlines() if line.startswith("user charrnn ")))
    user = ("--user", "charrnn", "on", f">{PASSWORD}", "~charrnn:*", "resetchannels", "-@all", *rights)
    place = start_broker(*user)
    settings = Settings(home=tmp_path, redis_url=f"redis://charrnn:{PASSWORD}@{place}/0")
    connect(settings.redis_url).ring("train", 1)
    with redis.Redis.from_url(f"redis://{place}/0") as admin:
        with make_celery(settings) as app, app.connection_for_read() as connection:
            taken: list[object] = []
            connection.default_channel.basic_consume("train", False, taken.append, "tag")
            while not taken:
                connection.drain_events(timeout=200)
            assert admin.hlen("charrnn:unacked") == 1
        assert admin.hlen("charrnn:unacked") == 0
        # redis-py tolerates a refusal when it reports its name. The rules must suit Redis 7.0 too, without the command.
        assert {denied["object"] for denied in admin.acl_log()} <= {"client|setinfo"}

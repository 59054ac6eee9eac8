"""Doorbells: Celery messages that say "something waits in this queue".

A doorbell carries no work. Lost, it is rung again by `maintenance`; delivered twice, the second
finds nothing to claim. So messages are acknowledged early, and no result backend is used.

One rule keeps a fleet at work: while parts wait in a queue, a doorbell is in it.

- Whoever makes parts wait (submit, retry, a part that is given back) rings once for each, BELLS times at most.
- A child answers a doorbell by a claim. If no doorbell is left and more parts wait, it rings one before it begins its
  work. So a job of 100,000 parts has 256 doorbells at first, and then one that goes from child to child; where children
  answer at the same moment, one for each of them.
- A doorbell is lost with the broker's memory, or with a child that dies in the milliseconds until it has rung the next
  one. Maintenance then finds parts that wait and an empty queue, within a round, and rings as submit did.

A doorbell too many costs one claim that finds nothing. There are as many as children that answered at the same moment,
and those of parts that were cancelled, or that were done without one by a child that samples on while a training waits.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLCertVerificationError, SSLError
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.settings import SOCKET, Settings

QUEUES = ("train", "generate")
TASK = "charrnn.work"
KEY_PREFIX = "charrnn:"
STORE_KEY = "store"  # in the broker: the id of the store that its messages speak of
BELLS = 256  # rung at once: they wake more children than any fleet that was tried has (200), in an eighth of a second

CUT = ("handshake", "Connection closed by server")  # of one that speaks TLS to one that does not, and of the reverse

TRANSPORT_OPTIONS = {
    "global_keyprefix": KEY_PREFIX,  # a shared Redis keeps our keys apart
    "socket_connect_timeout": 5,  # seconds
    "socket_timeout": 20,  # the default waits forever on a connection that died silently
    "socket_keepalive": True,
    "health_check_interval": 25,  # seconds; finds a dead connection while idle
    "retry_on_timeout": False,  # would publish twice after an unclear failure
    "visibility_timeout": 6 * 3600,  # seconds; only matters to messages on their way
    # No queue_order_strategy: round robin by default; "priority" starves one of the two queues.
}


def make_celery(settings: Settings) -> Celery:
    """The Celery application of both sides. Options live here and not on task decorators: a
    producer that publishes by name never sees those."""
    app = Celery("charrnn-jobs", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        broker_transport_options=TRANSPORT_OPTIONS,
        broker_connection_retry_on_startup=True,  # a worker may start before its broker
        broker_connection_max_retries=None,  # the default gives up after about 49 minutes
        task_acks_late=False,  # the lease is the acknowledgement
        task_ignore_result=True,  # what ended is in the store
        task_publish_retry=False,  # the store has the job; maintenance rings again
        task_serializer="json",
        accept_content=["json"],  # pickle in a message would run what it says
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a busy worker takes no doorbell away from a free one
        worker_hijack_root_logger=False,  # our lines are about parts, Celery's about messages
        worker_redirect_stdouts=False,
        worker_send_task_events=False,  # nobody listens; `status` reads the store
        worker_enable_remote_control=False,  # whoever reaches the broker could stop every worker
        worker_proc_alive_timeout=60.0,  # seconds; the default kills a slow start again and again
        # No worker_max_tasks_per_child: models stay loaded. No time limits: Watch ends what hangs, whatever its length.
    )
    return app


@dataclass(frozen=True)
class Server:
    """The broker's server."""

    kind: str  # redis, valkey or another that speaks their protocol
    version: str


@dataclass(frozen=True)
class BrokerWarning:
    """A part of the broker's set-up that lets others in or loses messages. A job is lost by none of it."""

    name: str
    advice: str


class Queue:
    """The producer's end of the broker."""

    def __init__(self, settings: Settings) -> None:
        self.app = make_celery(settings)
        self._broker_url = settings.broker_url
        self.url = str(maybe_sanitize_url(settings.broker_url))
        self.local = not settings.redis_url

    def close(self) -> None:
        self.app.close()

    def ring(self, queue: str, count: int) -> int:
        """Ring for `count` waiting parts -> how many doorbells that took, BELLS at most.

        Raises:
            UnreachableError: The broker does not answer; maintenance will ring.
        """
        bells = min(count, BELLS)
        with self._client() as _, self.app.producer_pool.acquire(block=True) as producer:
            for _ in range(bells):
                # Celery's own id stands in a message three times, and nobody replies: 95 bytes less, below 1,000 on
                # every host, whose name is in it too.
                short = {"task_id": secrets.token_hex(8), "reply_to": "-"}
                self.app.send_task(TASK, args=[queue], queue=queue, producer=producer, **short)
        return bells

    def lengths(self) -> dict[str, int]:
        """Queue → doorbells that wait in it."""
        with self._client() as client:
            return {queue: int(client.llen(queue)) for queue in QUEUES}

    def server(self) -> Server:
        """Return which server the broker is."""
        facts = self._facts()
        if "valkey_version" in facts:
            return Server("valkey", str(facts["valkey_version"]))
        return Server(str(facts.get("server_name", "redis")), str(facts["redis_version"]))

    def warnings(self) -> list[BrokerWarning]:
        """Return what should be mended in the broker's set-up."""
        facts = self._facts()
        unchecked = re.search("ssl_cert_reqs=(cert_)?(none|optional)", self._broker_url, re.IGNORECASE)
        policy = facts.get("maxmemory_policy", "noeviction")
        access = "anybody who reaches it may use it. Set requirepass or an ACL, and CHARRNN_REDIS_URL"
        certificate = "is not looked at, so anybody may pose as it. Set ssl_cert_reqs=required in its URL"
        memory = f"drops messages when it is full. Set maxmemory-policy noeviction instead of {policy}"
        disk = "forgets messages at a restart, until they are rung anew. Set appendonly yes"
        checks = {
            BrokerWarning("broker password", access): self._is_open(),
            BrokerWarning("broker certificate", certificate): unchecked is not None,
            BrokerWarning("broker memory", memory): policy != "noeviction",
            BrokerWarning("broker disk", disk): not facts.get("aof_enabled", 1),
        }
        return [warning for warning, applies in checks.items() if applies]

    def _facts(self) -> dict[str, Any]:
        """The server's own, as INFO tells them: CONFIG GET is a right that nobody needs."""
        with self._client() as client:
            return dict(client.info())

    def _is_open(self) -> bool:
        """Whether the server answers anybody who reaches it; of a Unix socket its folder decides."""
        parts = urlsplit(self._broker_url)
        if parts.scheme == SOCKET:
            return False
        nobody = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        try:
            with Redis.from_url(nobody, socket_connect_timeout=5, socket_timeout=5) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def claim_for(self, store_id: str, store_url: str) -> None:
        """Tie the broker to one store; messages of another store would be eaten here.

        Raises:
            InputError: the broker serves another store.
        """
        with self._client() as client:
            client.set(STORE_KEY, f"{store_id} {store_url}", nx=True)
            owner = client.get(KEY_PREFIX + STORE_KEY)  # Kombu's client prefixes SET, but not GET
        owner_id, _, owner_url = (owner or b"").decode(errors="replace").partition(" ")
        if owner_id != store_id:
            raise InputError(
                f"The broker {self.url} serves the store {owner_url}, and not {store_url}. Set CHARRNN_STORE_URL and "
                f"CHARRNN_REDIS_URL to the same pair everywhere, or use another Redis database"
            )

    @contextmanager
    def _client(self) -> Iterator[Any]:
        try:
            with self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
                yield connection.default_channel.client
        except (OperationalError, RedisError, OSError) as error:
            start = "charrnn-jobs up" if self.local else "your Redis server, or correct CHARRNN_REDIS_URL"
            refused = _refusal(error, self.url) or f"does not answer. Start {start}"
            raise UnreachableError(f"The broker {self.url} {refused}") from error


def _refusal(error: BaseException, url: str) -> str | None:
    """What a broker that is there objects to, and how to mend it; None of one that does not answer.

    Kombu wraps redis-py's errors, which were raised while the socket's were handled.
    """
    found = error.__cause__ if isinstance(error, OperationalError) else error
    socket = found.__context__ if found else None
    if isinstance(found, AuthenticationError):
        return f"refuses the user or password of CHARRNN_REDIS_URL: {found} Correct them"
    if isinstance(found, NoPermissionError):
        return f"forbids its user what is needed: {found}. Give it the rights that deploy/redis.acl lists"
    if isinstance(socket, SSLCertVerificationError):
        reason = f"has a certificate that is not trusted: {socket.verify_message.rstrip('.')}"
        return (
            f"{reason}. Name its authority by ssl_ca_certs in CHARRNN_REDIS_URL, and the host as the certificate does"
        )
    if isinstance(socket, FileNotFoundError | PermissionError) and url.startswith("rediss:"):
        return f"cannot be checked: the file of ssl_ca_certs in CHARRNN_REDIS_URL cannot be read: {socket.strerror}"
    if isinstance(socket, SSLError | ConnectionResetError) or any(word in f"{socket} {found}" for word in CUT):
        use = "Use rediss:// in CHARRNN_REDIS_URL for a port with TLS, redis:// for one without"
        return f"ended the connection. {use}; or wait, if it is about to start or to end"
    return None

"""Doorbells: Celery messages that say "something waits in this queue".

A doorbell carries no work. If it is lost, `maintenance` rings again. If it is delivered twice, the second delivery
finds nothing to claim. Therefore messages are acknowledged early, and no result backend is used.

One rule keeps a fleet at work: while parts wait in a queue, a doorbell is in it.

- Whoever makes parts wait (submit, retry, a requeued part) rings once for each, at most BELLS times.
- A child answers a doorbell with a claim. If no doorbell is left and more parts wait, it rings one before it begins its
  work. A job of 100,000 parts thus has 256 doorbells at first, and then one that goes from child to child; if several
  children answer at the same moment, one for each of them.
- A doorbell is lost with the broker's memory, or with a child that dies in the milliseconds before it rings the next
  one. Within one round, maintenance then finds waiting parts and an empty queue, and rings as submit did.

A surplus doorbell costs one claim that finds nothing. Doorbells become surplus when children answer at the same moment,
when parts are cancelled, and when a child takes further generate parts without a doorbell while a training job waits.
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
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.settings import SOCKET, Settings

QUEUES = ("train", "generate")
TASK = "charrnn.work"
KEY_PREFIX = "charrnn:"
STORE_KEY = "store"  # key in the broker: the id of the store that its messages are about
MAX_OWNER = 1000  # bytes read of that key
BELLS = 256  # most doorbells at once: more than the largest fleet tried has children (200), sent in 1/8 second

# Parts of the errors when only the client or only the server uses TLS.
CUT = ("handshake", "Connection closed by server")

TRANSPORT_OPTIONS = {
    "global_keyprefix": KEY_PREFIX,  # keeps our keys apart in a shared Redis
    "socket_connect_timeout": 5,  # seconds
    "socket_timeout": 20,  # seconds; the default waits forever on a connection that died silently
    "socket_keepalive": True,
    "health_check_interval": 25,  # seconds; finds a dead connection while idle
    "retry_on_timeout": False,  # True would publish twice after an unclear failure
    "visibility_timeout": 6 * 3600,  # seconds; matters only to messages in transit
    # No queue_order_strategy: round robin by default; "priority" starves one of the two queues.
}


def make_celery(settings: Settings) -> Celery:
    """Return the Celery application for producers and workers.

    Options are set here and not in task decorators, which a producer that publishes by name never sees.
    """
    app = Celery("charrnn-jobs", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        broker_transport_options=TRANSPORT_OPTIONS,
        broker_connection_retry_on_startup=True,  # a worker may start before its broker
        broker_connection_max_retries=None,  # the default gives up after about 49 minutes
        task_acks_late=False,  # the lease is the acknowledgement
        task_ignore_result=True,  # results are in the store
        task_publish_retry=False,  # the store has the job; maintenance rings again
        task_serializer="json",
        accept_content=["json"],  # pickle in a message would run code
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a busy worker takes no doorbell away from a free one
        worker_hijack_root_logger=False,  # our log lines are about parts, Celery's about messages
        worker_redirect_stdouts=False,
        worker_send_task_events=False,  # nobody listens; `status` reads the store
        worker_enable_remote_control=False,  # anyone who can reach the broker could stop every worker
        worker_proc_alive_timeout=60.0,  # seconds; the default kills a slow start again and again
        # No worker_max_tasks_per_child: models stay loaded. No time limits: Watch ends work that hangs, and long work
        # may go on.
    )
    return app


@dataclass(frozen=True)
class Server:
    """The broker's server."""

    kind: str  # redis, valkey or another server with their protocol
    version: str


@dataclass(frozen=True)
class BrokerWarning:
    """A weakness of the broker's configuration: it lets others in or loses messages. No job is lost through it."""

    name: str
    advice: str


class Queue:
    """The producer's end of the broker."""

    def __init__(self, settings: Settings) -> None:
        self.app = make_celery(settings)
        self._settings = settings
        self._broker_url = settings.broker_url
        self.url = str(maybe_sanitize_url(settings.broker_url))
        self.local = not settings.redis_url

    def close(self) -> None:
        self.app.close()

    def ring(self, queue: str, count: int) -> int:
        """Ring for `count` waiting parts. Return the number of doorbells sent, at most BELLS.

        Raises:
            UnreachableError: the broker does not answer; maintenance will ring.
        """
        bells = min(count, BELLS)
        with self._client() as _, self.app.producer_pool.acquire(block=True) as producer:
            for _ in range(bells):
                # Celery's own id appears in a message three times, and nobody replies. This saves 95 bytes and keeps a
                # message below 1,000 bytes on every host, whose name is in it too.
                short = {"task_id": secrets.token_hex(8), "reply_to": "-"}
                self.app.send_task(TASK, args=[queue], queue=queue, producer=producer, **short)
        return bells

    def lengths(self) -> dict[str, int]:
        """Return the number of waiting doorbells of each queue."""
        with self._client() as client:
            return {queue: int(client.llen(queue)) for queue in QUEUES}

    def server(self) -> Server:
        """Return the kind and version of the broker's server."""
        facts = self._facts()
        if "valkey_version" in facts:
            return Server("valkey", str(facts["valkey_version"]))
        return Server(str(facts.get("server_name", "redis")), str(facts["redis_version"]))

    def warnings(self) -> list[BrokerWarning]:
        """Return the weaknesses of the broker's configuration that should be fixed."""
        facts = self._facts()
        unchecked = re.search("ssl_cert_reqs=(cert_)?(none|optional)", self._broker_url, re.IGNORECASE)
        policy = facts.get("maxmemory_policy", "noeviction")
        access = "anyone who can reach it may use it. Set requirepass or an ACL, and update CHARRNN_REDIS_URL"
        certificate = "is not verified, so anyone can impersonate it. Set ssl_cert_reqs=required in its URL"
        memory = f"drops messages when it is full. Set maxmemory-policy noeviction instead of {policy}"
        disk = "loses messages at a restart, until maintenance resends them. Set appendonly yes"
        checks = {
            BrokerWarning("broker password", access): self._is_open(),
            BrokerWarning("broker certificate", certificate): unchecked is not None,
            BrokerWarning("broker memory", memory): policy != "noeviction",
            BrokerWarning("broker disk", disk): not facts.get("aof_enabled", 1),
        }
        return [warning for warning, applies in checks.items() if applies]

    def _facts(self) -> dict[str, Any]:
        """Return the server's facts from INFO. CONFIG GET would need a permission that nothing else needs."""
        with self._client() as client:
            return dict(client.info())

    def _is_open(self) -> bool:
        """Return whether the server answers without a password. Access to a Unix socket is decided by its folder."""
        parts = urlsplit(self._broker_url)
        if parts.scheme == SOCKET:
            return False
        anonymous = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        try:
            with Redis.from_url(anonymous, socket_connect_timeout=5, socket_timeout=5) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def claim_for(self, store_id: str, store_url: str) -> None:
        """Tie the broker to one store. Otherwise workers of one store would take the messages of another.

        Raises:
            InputError: the broker serves another store.
        """
        with self._client() as client:
            client.set(STORE_KEY, f"{store_id} {store_url}", nx=True)
            owner_id, owner_url = _owner(client)
        if owner_id != store_id:
            raise InputError(
                f"The broker {self.url} serves the store {owner_url}, not {store_url}. Set CHARRNN_STORE_URL and "
                f"CHARRNN_REDIS_URL to the same pair on every host, or use another Redis database"
            )

    def known_store(self) -> str | None:
        """Return the URL of the store that the broker serves, without a password; None if it serves none yet."""
        with self._client() as client:
            return _owner(client)[1] or None

    @contextmanager
    def _client(self) -> Iterator[Any]:
        self._settings.check_broker()
        try:
            with self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
                yield connection.default_channel.client
        except (OperationalError, RedisError, OSError) as error:
            start = "it with: charrnn-jobs up" if self.local else "your Redis server, or correct CHARRNN_REDIS_URL"
            refused = _refusal(error, self.url) or f"does not answer. Start {start}"
            raise UnreachableError(f"The broker {self.url} {refused}") from error


def _owner(client: Any) -> tuple[str, str]:
    """Return id and URL of the store that the broker serves, or empty texts."""
    # Anyone may have written a value of 512 MB. Kombu's client prefixes SET, but not GETRANGE.
    owner: bytes = client.getrange(KEY_PREFIX + STORE_KEY, 0, MAX_OWNER)
    owner_id, _, owner_url = owner.decode(errors="replace").partition(" ")
    return owner_id, owner_url


def _refusal(error: BaseException, url: str) -> str | None:
    """Return why a broker that answers refuses, and how to fix it, or None if it does not answer.

    Kombu wraps redis-py's errors, and these were raised while an error of the socket was handled.
    """
    found = error.__cause__ if isinstance(error, OperationalError) else error
    socket = found.__context__ if found else None
    if isinstance(found, AuthenticationError):
        return f"rejects the user or password in CHARRNN_REDIS_URL: {found} Correct them"
    if isinstance(found, NoPermissionError):
        return f"denies its user a required permission: {found}. Grant the rights that deploy/redis.acl lists"
    if isinstance(found, ResponseError):
        return (
            f"refuses a command: {found}. If it is full, give it more memory. If another program changed its keys, "
            f"delete those that begin with {KEY_PREFIX}; maintenance sends the notifications again"
        )
    if isinstance(socket, SSLCertVerificationError):
        reason = f"has a certificate that is not trusted: {socket.verify_message.rstrip('.')}"
        return f"{reason}. In CHARRNN_REDIS_URL, set ssl_ca_certs to its authority and use the certificate's host name"
    if isinstance(socket, FileNotFoundError | PermissionError) and url.startswith("rediss:"):
        return f"cannot be verified: the ssl_ca_certs file in CHARRNN_REDIS_URL cannot be read: {socket.strerror}"
    if isinstance(socket, SSLError | ConnectionResetError) or any(word in f"{socket} {found}" for word in CUT):
        use = "Use rediss:// in CHARRNN_REDIS_URL for a port with TLS, redis:// for one without"
        return f"closed the connection. {use}; or wait, if it is starting or stopping"
    return None

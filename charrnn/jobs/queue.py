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

import base64
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLCertVerificationError, SSLError
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as LostConnectionError
from redis.retry import Retry

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.job.specs import QUEUES
from charrnn.jobs.settings import Settings
from charrnn.jobs.sources import SOCKET

TASK = "charrnn.work"
STORE = "store"  # key in the broker, after the prefix: the id of the store that its messages are about
MAX_OWNER = 1000  # bytes read of that key
BELLS = 256  # most doorbells at once: more than the largest fleet tried has children (200)
CONNECT_S, ANSWER_S = 5, 20  # seconds

# Parts of the errors when only the client or only the server uses TLS.
CUT = ("handshake", "Connection closed by server")


def doorbell(queue: str, number: str) -> dict[str, Any]:
    """Return a doorbell in the form in which Kombu keeps a message in Redis. It asks Celery for nothing but its task.

    Celery would take a command 0.1 s to import and 0.07 s for its first message.

    Args:
        number: hexadecimal digits that no other doorbell has.
    """
    body = json.dumps([[queue], {}, {}]).encode()
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": TASK, "id": number},
        "properties": {
            "delivery_tag": number,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": "base64",
        },
    }


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
        self._settings = settings
        self._broker_url = settings.broker_url
        self._prefix = settings.key_prefix
        self.url = re.sub("(?<=//).*(?=@)", "***", settings.broker_url)  # a password may have colons and @
        self.local = not settings.redis_url
        self._redis = Redis.from_url(
            _redis_url(settings.broker_url),
            socket_connect_timeout=CONNECT_S,
            socket_timeout=ANSWER_S,
            # The broker was started anew; a doorbell that is sent twice does no harm. One that does not answer is not
            # asked again: a command would wait for 40 s.
            retry=Retry(NoBackoff(), 1, (LostConnectionError,)),
        )

    def close(self) -> None:
        self._redis.close()

    def ring(self, queue: str, count: int) -> int:
        """Ring for `count` waiting parts. Return the number of doorbells sent, at most BELLS.

        Raises:
            UnreachableError: the broker does not answer; maintenance will ring.
        """
        bells = [json.dumps(doorbell(queue, secrets.token_hex(8))) for _ in range(min(count, BELLS))]
        with self._client() as client:
            client.lpush(self._prefix + queue, *bells)
        return len(bells)

    def lengths(self) -> dict[str, int]:
        """Return the number of waiting doorbells of each queue."""
        with self._client() as client:
            return {queue: int(client.llen(self._prefix + queue)) for queue in QUEUES}

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
        anonymous = _redis_url(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
        try:
            with Redis.from_url(anonymous, socket_connect_timeout=CONNECT_S, socket_timeout=CONNECT_S) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def claim_for(self, store_id: str, store_url: str) -> None:
        """Tie the broker to one store. Otherwise workers of one store would take the messages of another.

        Raises:
            InputError: the broker serves another store.
        """
        with self._client() as client:
            client.set(self._prefix + STORE, f"{store_id} {store_url}", nx=True)
            owner_id, owner_url = self._owner(client)
        if owner_id != store_id:
            raise InputError(
                f"The broker {self.url} serves the store {owner_url}, not {store_url}. Set CHARRNN_STORE_URL and "
                f"CHARRNN_REDIS_URL to the same pair on every host, or give the store its own CHARRNN_REDIS_PREFIX"
            )

    def known_store(self) -> str | None:
        """Return the URL of the store that the broker serves, without a password; None if it serves none yet."""
        with self._client() as client:
            return self._owner(client)[1] or None

    def _owner(self, client: Redis) -> tuple[str, str]:
        """Return id and URL of the store that the broker serves, or empty texts."""
        # Anyone may have written a value of 512 MB.
        owner: Any = client.getrange(self._prefix + STORE, 0, MAX_OWNER)
        owner_id, _, owner_url = owner.decode(errors="replace").partition(" ")
        return owner_id, owner_url

    @contextmanager
    def _client(self) -> Iterator[Redis]:
        self._settings.check_broker()
        try:
            yield self._redis
        except (RedisError, OSError) as error:
            start = "it with: charrnn-jobs up" if self.local else "your Redis server, or correct CHARRNN_REDIS_URL"
            refused = _refusal(error, self.url, self._prefix) or f"does not answer. Start {start}"
            raise UnreachableError(f"The broker {self.url} {refused}") from error


def _redis_url(url: str) -> str:
    """Return a URL in Kombu's form, as the settings have it, in redis-py's."""
    plain = re.sub("ssl_cert_reqs=CERT_([A-Z]+)", lambda found: f"ssl_cert_reqs={found[1].lower()}", url)
    return plain.replace(f"{SOCKET}://", "unix://", 1).replace("?virtual_host=", "?db=", 1)


def _refusal(error: BaseException, url: str, prefix: str) -> str | None:
    """Return why a broker that answers refuses, and how to fix it, or None if it does not answer."""
    socket = error.__context__  # the error of the socket, while which redis-py's was raised
    if isinstance(error, AuthenticationError):
        return f"rejects the user or password in CHARRNN_REDIS_URL: {error} Correct them"
    if isinstance(error, NoPermissionError):
        return f"denies its user a required permission: {error}. Grant the rights that deploy/redis.acl lists"
    if isinstance(error, ResponseError):
        return (
            f"refuses a command: {error}. If it is full, give it more memory. If another program changed its keys, "
            f"delete those that begin with {prefix}; maintenance sends the notifications again"
        )
    if isinstance(socket, SSLCertVerificationError):
        reason = f"has a certificate that is not trusted: {socket.verify_message.rstrip('.')}"
        return f"{reason}. In CHARRNN_REDIS_URL, set ssl_ca_certs to its authority and use the certificate's host name"
    if isinstance(socket, FileNotFoundError | PermissionError) and url.startswith("rediss:"):
        return f"cannot be verified: the ssl_ca_certs file in CHARRNN_REDIS_URL cannot be read: {socket.strerror}"
    if isinstance(socket, SSLError | ConnectionResetError) or any(word in f"{socket} {error}" for word in CUT):
        use = "Use rediss:// in CHARRNN_REDIS_URL for a port with TLS, redis:// for one without"
        return f"closed the connection. {use}; or wait, if it is starting or stopping"
    return None

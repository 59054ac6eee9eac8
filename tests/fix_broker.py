"""A real broker on a Unix socket for the integration tests, started by the product's own code."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from charrnn.jobs.queue import Queue
from charrnn.jobs.settings import Settings
from producer.local import _server_binary, local_broker
from tests.fix_processes import until

StartBroker = Callable[..., str]


@pytest.fixture(scope="session")
def broker_home() -> Iterator[Path]:
    """The home folder of a running broker. Its path is short: a socket's may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as home, local_broker(Settings(home=Path(home))):
        yield Path(home)


@pytest.fixture
def settings(broker_home: Path, store_url: str, tmp_path: Path) -> Settings:
    """Settings of an empty store, an empty folder of files and an empty broker."""
    settings = Settings(
        home=broker_home,
        store_url=store_url,
        files_url=str(tmp_path / "files"),
    )
    with redis.Redis(unix_socket_path=str(settings.broker_socket)) as client:
        client.flushall()
    return settings


@pytest.fixture
def queue(settings: Settings) -> Iterator[Queue]:
    queue = Queue(settings)
    yield queue
    queue.close()


@pytest.fixture
def start_broker() -> Iterator[StartBroker]:
    """Start a broker on a port of loopback with these options, whose clients need not know them -> host and port."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(_tcp_broker(options))


@contextmanager
def _tcp_broker(options: tuple[str, ...]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        words = (_server_binary(), "--bind", "127.0.0.1", "--port", port, "--dir", folder, "--save", "", *options)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            until(lambda: _listens(process, int(port)), "a broker")
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, "the broker did not start"
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True

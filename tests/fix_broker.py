"""A real broker on a Unix socket for the integration tests, started by the product's own code."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from charrnn.jobs.queue import Queue
from charrnn.jobs.settings import Settings
from producer.local import local_broker


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

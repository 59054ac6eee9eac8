"""The address and the requests of `scheduler --metrics`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.settings import Settings
from charrnn.jobs.upkeep.metrics.server import MetricsServer


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[Connections]:
    connections = Connections(Settings(home=tmp_path))
    yield connections
    connections.close()


@pytest.mark.parametrize(
    "address",
    ["9464", "host", "127.0.0.1", "127.0.0.1:", ":9464", "a@b:1", "a:b", "a:99999", "[::1", "a:1/x", "a b:1?"],
)
def test_what_is_no_address_is_refused(connections: Connections, address: str) -> None:
    with pytest.raises(InputError, match="--metrics must be HOST:PORT, such as 127.0.0.1:9464"):
        MetricsServer(connections, address)


@pytest.mark.parametrize("host", ["a..b", "a\udcff", "x" * 64])
def test_what_is_no_name_of_a_host_is_refused(connections: Connections, host: str) -> None:
    with pytest.raises(InputError, match=r"Metrics cannot be served on .*: not the name of a host"):
        MetricsServer(connections, f"{host}:9464")


def test_a_port_that_is_taken_is_refused(connections: Connections) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=f"Metrics cannot be served on {address}: Address already in use"):
            MetricsServer(connections, address)


def test_idle_connections_keep_nobody_out(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.jobs.upkeep.metrics.server.MAX_CONNECTIONS", 3)
    monkeypatch.setattr("charrnn.jobs.upkeep.metrics.server._Handler.timeout", 600.0)  # which would end them, too
    with MetricsServer(connections, "127.0.0.1:0") as server, ExitStack() as opened:
        server.start()
        address = ("127.0.0.1", server.server_address[1])
        idle = [opened.enter_context(socket.create_connection(address, timeout=30)) for _ in range(8)]
        client = HTTPConnection(*address, timeout=30)
        client.request("GET", "/metrics")
        assert client.getresponse().status == 200
        client.close()
        for ended in idle[:5]:
            assert ended.recv(1) == b""  # Catches: a thread and a file for everybody who connects
        server.shutdown()


def test_metrics_are_served_at_one_path(connections: Connections) -> None:
    with MetricsServer(connections, "127.0.0.1:0") as server:
        server.start()
        client = HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
        answers = {}
        for path in ("/metrics", "/metrics?a=b", "/"):
            client.request("GET", path, headers={"Accept": "application/openmetrics-text; version=\xe9"})
            answer = client.getresponse()
            answers[path] = (answer.status, b'charrnn_up{service="broker"} 0.0' in answer.read())
            client.close()
        assert answers == {
            "/metrics": (200, True),
            "/metrics?a=b": (200, True),
            "/": (404, False),
        }
        server.shutdown()

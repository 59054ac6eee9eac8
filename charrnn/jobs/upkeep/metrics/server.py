"""The HTTP server of `scheduler --metrics`. It serves one address, /metrics, and changes nothing."""

from __future__ import annotations

import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Lock, Thread
from typing import Any, cast
from urllib.parse import urlsplit

from charrnn.errors import InputError
from charrnn.jobs.connections import Connections
from charrnn.jobs.upkeep.metrics import open_exposition

SLOW_S = 10.0  # seconds after which a client that sends or takes nothing is cut off
MAX_CONNECTIONS = 100  # each has a thread and a file, of which maintenance needs some too


class MetricsServer(ThreadingTCPServer):
    """A server of metrics, with a thread for each request.

    Args:
        address: host and port, such as 127.0.0.1:9464 or [::1]:9464. Port 0 is a free one.

    Raises:
        InputError: it is not an address of this machine, the port is taken, or the extra is not installed.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, connections: Connections, address: str) -> None:
        host, port = _parse(address)
        self.exposition = open_exposition(connections)
        self._open: dict[socket.socket, None] = {}  # in the order in which they came
        self._lock = Lock()
        try:
            (self.address_family, *_, place), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            super().__init__(cast(tuple[str, int], place[:2]), _Handler)
        except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
            reason = error.strerror if isinstance(error, OSError) else "not the name of a host"
            raise InputError(
                f"Metrics cannot be served on {address[:80]}: {reason}. Choose another address with --metrics"
            ) from error

    def start(self) -> None:
        """Serve in a thread that ends with the process."""
        Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread. If too many wait, end the oldest connection: a request is answered within milliseconds,
        so that one sends nothing."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with suppress(OSError):  # its client went away
                    oldest.shutdown(socket.SHUT_RDWR)
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Do nothing: a client went away, or does not speak HTTP."""


class _Handler(BaseHTTPRequestHandler):
    timeout = SLOW_S
    server_version, sys_version = "charrnn-jobs", ""

    def do_GET(self) -> None:
        if urlsplit(self.path).path != "/metrics":
            self.send_error(404)
            return
        server = cast(MetricsServer, self.server)
        text, content_type = server.exposition.render(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Log nothing: there is a request every few seconds."""


def _parse(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None or parts.netloc != address or "@" in address:
        raise InputError(f"--metrics must be HOST:PORT, such as 127.0.0.1:9464. Received: {address!r:.80}")
    return host, port

"""Serve the page: in this process until Ctrl-C, or in a thread beside other work."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import uvicorn

from charrnn.errors import InputError
from charrnn.jobs.client import Client
from charrnn.jobs.settings import Settings
from producer.web import PORT
from producer.web.access import Token, is_loopback
from producer.web.app import create_app
from producer.web.feeds import Feeds

STOP_S = 2  # seconds that open connections have when the server stops


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        port: 0 for a free one; None for PORT, or a free one if that is taken.

    Raises:
        InputError: the address is not this machine's, or the port is taken.
    """
    try:
        wanted = PORT if port is None else port
        found, *_ = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[4][:2], family=found[0], backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and port is None:
            return listen(host, 0)
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"Port {port} of {host} is taken. Choose another one with --port") from error
        raise InputError(f"The page cannot be served on {host}: {error.strerror}. Choose another --host") from error


def address(bound: socket.socket) -> str:
    """Return the address of the page for a browser on this machine."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # for a browser, not to listen on
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def make_server(
    client: Client, settings: Settings, bound: socket.socket, *, allow_writes: bool, hosts: Collection[str]
) -> uvicorn.Server:
    """Return a server of the page.

    Raises:
        InputError: others can reach the address, and the settings have no token; or the token is too short.
    """
    token = Token(settings.web_token) if settings.web_token else None
    host = bound.getsockname()[0]
    if token is None and not is_loopback(host):
        raise InputError(
            f"Everybody who reaches {host} could read all texts. Set CHARRNN_WEB_TOKEN or CHARRNN_WEB_TOKEN_FILE, such "
            f"as from: openssl rand -hex 32"
        )
    feeds = Feeds()
    app = create_app(client, feeds, allow_writes=allow_writes, token=token, hosts=hosts)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=STOP_S, lifespan="off"
    )
    return _Server(config, feeds)


class _Server(uvicorn.Server):
    """A server that ends the live parts of pages before it waits for its connections to end."""

    def __init__(self, config: uvicorn.Config, feeds: Feeds) -> None:
        super().__init__(config)
        self.feeds = feeds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.feeds.close()
        await super().shutdown(sockets)


@contextmanager
def served_in_thread(settings: Settings) -> Iterator[str]:
    """Serve the page on loopback, read-only, while the block runs, and yield its address."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    with listen("127.0.0.1", None) as bound, Client(settings) as client:
        server = make_server(client, settings, bound, allow_writes=False, hosts=())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            yield address(bound)
        finally:
            server.should_exit = True
            thread.join(STOP_S + 1)

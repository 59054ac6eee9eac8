"""Serve the web interface: in this process until Ctrl-C, or in a thread beside other work."""

from __future__ import annotations

import errno
import ipaddress
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import uvicorn

from charrnn.errors import InputError
from charrnn.jobs import private
from charrnn.jobs.client import Client
from charrnn.jobs.settings import Settings
from producer.web import PORT
from producer.web.access import LOGIN, Token
from producer.web.app import create_app
from producer.web.connections import BACKLOG, Connection
from producer.web.feeds import Feeds

MAX_TOKEN = 1_000  # characters
MAX_PORT = 65_535
STOP_S = 2  # seconds that open connections have when the server stops


def listen(host: str, port: int | None) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        port: 0 for a free one; None for PORT, or a free one if that is taken.

    Raises:
        InputError: the address is not this machine's, or the port is taken or none.
    """
    try:
        wanted = PORT if port is None else port
        if not 0 <= wanted <= MAX_PORT:  # the system would take the rest of a division
            raise InputError(f"--port must be a whole number from 0 to {MAX_PORT:,}. Received: {str(port)[:80]}")
        found, *_ = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(found[4], family=found[0])
    except UnicodeError as error:
        raise InputError(f"{host[:80]!r} is not the name of a host. Choose another --host") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE and port is None:
            return listen(host, 0)
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"Port {port} of {host} is taken. Choose another one with --port") from error
        raise InputError(
            f"The web interface cannot be served on {host}: {error.strerror}. Choose another --host"
        ) from error


def address(bound: socket.socket) -> str:
    """Return the address of the web interface for a browser on this machine."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # for a browser, not to listen on
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@dataclass(frozen=True)
class Login:
    """The token of the web interface, and the link with which a person opens it."""

    token: Token
    link: str


def choose_login(settings: Settings, bound: socket.socket) -> Login:
    """Return the token of the settings, or on loopback one that is kept in the home, which only its user can read.

    Raises:
        InputError: others can reach the address, and the settings have no token; or the token is not valid.
    """
    host, url = bound.getsockname()[0], address(bound)
    if settings.web_token:
        return Login(Token(settings.web_token.strip()), url)
    if ipaddress.ip_address(host).is_loopback:
        token = _own_token(settings.home)
        return Login(token, f"{url}{LOGIN}?token={token.text}")
    raise InputError(
        f"Everybody who reaches {host} could read all texts. Set CHARRNN_WEB_TOKEN or CHARRNN_WEB_TOKEN_FILE, such as "
        f"from: openssl rand -hex 32"
    )


def _own_token(home: Path) -> Token:
    """Return the token in the home, which is made when it is first needed: a bookmark of it then lasts."""
    path = home / private.PAGE_KEY
    try:
        home.mkdir(mode=private.FOLDER_MODE, parents=True, exist_ok=True)
        if not path.exists():
            with NamedTemporaryFile("w", dir=home, prefix=f"{private.PAGE_KEY}.") as arriving:  # of mode 0600
                arriving.write(secrets.token_hex(16))
                arriving.flush()
                with suppress(FileExistsError):
                    os.link(arriving.name, path)  # whole, or another process was quicker
        with open(path, opener=private.opener) as file:
            return Token(file.read(MAX_TOKEN).strip())
    except OSError as error:
        raise InputError(f"{path} cannot be used: {error.strerror}. Set CHARRNN_WEB_TOKEN") from error


def make_server(
    client: Client,
    token: Token | None,
    *,
    allow_writes: bool = False,
    hosts: Collection[str] = (),
    started: Callable[[], None] | None = None,
) -> uvicorn.Server:
    """Return a server of the web interface. Without a token, everybody who reaches it may use it.

    Args:
        started: called once it answers, and ends gracefully at Ctrl-C.
    """
    feeds = Feeds()
    app = create_app(client, feeds, allow_writes=allow_writes, token=token, hosts=hosts)
    config = uvicorn.Config(
        app,
        http=Connection,
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
        lifespan="off",
    )
    return _Server(config, feeds, started)


class _Server(uvicorn.Server):
    """A server that ends the live parts of pages before it waits for its connections to end."""

    def __init__(self, config: uvicorn.Config, feeds: Feeds, started: Callable[[], None] | None) -> None:
        super().__init__(config)
        self.feeds, self.call_started = feeds, started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.call_started:
            self.call_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.feeds.close()
        await super().shutdown(sockets)


@contextmanager
def served_in_thread(settings: Settings) -> Iterator[str]:
    """Serve the web interface on loopback, read-only, while the block runs, and yield the link that opens it."""
    with listen("127.0.0.1", None) as bound, Client(settings) as client:
        login = choose_login(settings, bound)
        server = make_server(client, login.token)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        try:
            yield login.link
        finally:
            server.should_exit = True
            thread.join(STOP_S + 1)

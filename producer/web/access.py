"""Access to the web interface, and the headers that protect its viewers.

- Host: names other than this machine's are refused, since a page of another site can make its own name mean this
  address (DNS rebinding). Addresses are accepted: no such name is one.
- Token: on loopback it is kept in the home; on other addresses it is that of the settings. A browser sends it once, as
  a form or in the link that a terminal shows, and gets a cookie that is derived from it; programs send it as a bearer
  token.
- Origin: whatever changes something must come from a page of this server.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charrnn.errors import InputError

logger = logging.getLogger(__name__)

COOKIE = "charrnn_session"
COOKIE_S = 30 * 86400
MIN_TOKEN = 16  # characters; a shorter one could be guessed
STATIC = "/static/"
LASTING = "public, max-age=31536000, immutable"  # addresses of static files change with their content
LOGIN = "/login"

HEADERS = {
    # data: for the icons in Pico's style sheet.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Token:
    """The secret that opens the web interface.

    Raises:
        InputError: it is too short, or has characters that a header cannot have.
    """

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.text) < MIN_TOKEN or not re.fullmatch(r"[!-~]+", self.text):
            raise InputError(
                f"The token of the web interface must have at least {MIN_TOKEN} ASCII characters without blanks. "
                f"Received: {len(self.text)} characters. Make one with: openssl rand -hex 32"
            )

    @property
    def cookie(self) -> str:
        """The value of the cookie: whoever reads it cannot find the token, and a new token makes it worthless."""
        return hmac.digest(self.text.encode(), COOKIE.encode(), hashlib.sha256).hex()

    def matches(self, text: str) -> bool:
        return _equal(text, self.text)

    def admits(self, request: Request) -> bool:
        """Return whether a request has the token, or the cookie that stands for it."""
        kind, _, sent = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.matches(sent.strip()):
            return True
        return _equal(request.cookies.get(COOKIE, ""), self.cookie)


def _equal(sent: str, expected: str) -> bool:
    return hmac.compare_digest(sent.encode(errors="replace"), expected.encode())


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # half an IPv6 address
        return None


class Access:
    """ASGI middleware that refuses whoever may not use the web interface."""

    def __init__(self, app: ASGIApp, *, token: Token | None, hosts: Collection[str]) -> None:
        """Take the token, if one is needed, and the names of this server besides those that it has by itself."""
        self.app, self.token = app, token
        self.hosts = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        refused = self._refusal(request)
        protected = _protecting(send, static=request.url.path.startswith(STATIC))
        try:
            await (refused or self.app)(scope, receive, protected)
        except Exception:  # the answer was sent, or is cut
            logger.exception("%s %s failed", request.method, request.url.path[:200])

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._is_own(host):
            return PlainTextResponse(
                f"This server does not answer to the name {host[:80]!r}. Start it with: charrnn-jobs web --allow-host "
                f"NAME",
                421,
            )
        if request.method not in ("GET", "HEAD") and _netloc(request.headers.get("origin", "")) != host:
            return PlainTextResponse("Only a page of this server may change something.", 403)
        path = request.url.path
        if self.token is None or path == LOGIN or path.startswith(STATIC) or self.token.admits(request):
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            target = quote(path + (f"?{request.url.query}" if request.url.query else ""))
            return RedirectResponse(f"{LOGIN}?next={target}", 303)
        return PlainTextResponse("The token is missing or wrong.", 401, headers={"WWW-Authenticate": "Bearer"})

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # half an IPv6 address
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.hosts
        return True


def _protecting(send: Send, *, static: bool) -> Send:
    """Return a `send` that adds the headers."""

    async def protected(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            lasts = static and message["status"] == HTTPStatus.OK
            headers.setdefault("Cache-Control", LASTING if lasts else "private, no-cache")
        await send(message)

    return protected

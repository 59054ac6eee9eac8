"""The page that asks for the token, and sets the cookie."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from producer.web import templates
from producer.web.access import COOKIE, COOKIE_S, Token
from producer.web.requests import read_form

MAX_LOGIN = 10_000  # bytes of the form, which anyone may send


async def login(request: Request) -> Response:
    """Ask for the token, or set the cookie if it is right."""
    token: Token | None = request.app.state.token
    target = _own_path(request.query_params.get("next", "/"))
    if token is None or token.admits(request):
        return RedirectResponse(target, 303)
    # The link that a terminal shows has the token of this machine's user.
    sent = request.query_params.get("token") if request.method != "POST" else await _sent(request)
    if sent is None:
        return templates.page(request, "login.html", wrong=False)
    if not token.matches(sent.strip()):
        return templates.page(request, "login.html", status_code=401, wrong=True)
    response = RedirectResponse(target, 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token.cookie, COOKIE_S, httponly=True, secure=secure, samesite="strict")
    return response


async def _sent(request: Request) -> str | None:
    return (await read_form(request, MAX_LOGIN, "Send the token alone")).get("token")


def _own_path(target: str) -> str:
    """Return a path of this server: browsers read // and /\\ as the begin of another server's name."""
    return target if target.startswith("/") and target[1:2] not in ("/", "\\") else "/"

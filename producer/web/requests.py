"""Input of pages: numbers, and forms within a limit; and the streams that they answer with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from charrnn.errors import CharrnnError, InputError, NotFoundError
from charrnn.jobs.job.sizing import MAX_ROWS
from charrnn.jobs.job.views import MAX_ID
from producer.web.feeds import Feeds, Fragment, Read
from producer.web.templates import render

logger = logging.getLogger(__name__)

EVENTS = "text/event-stream"
BODY_S = 60.0  # in which a form must arrive
MAX_FIELDS = 100
BACK = "back"
MAX_BACK = 50  # pages to which one can turn back, one by one


async def read_form(request: Request, most: int, more: str) -> dict[str, str]:
    """Return the fields of a form by name.

    Args:
        most: bytes that it may have. They are in memory while the rest arrives.
        more: what to do if it has more.

    Raises:
        InputError: it is too large, is not a form, or does not arrive.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise InputError(f"The form is larger than {most:,} bytes. {more}")
    except TimeoutError as error:
        raise InputError(f"The form did not arrive within {BODY_S:g} s. Send it again") from error
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:  # UnicodeDecodeError is one
        raise InputError(f"The form cannot be read: {error}") from error


def whole_number(request: Request, name: str, most: int = MAX_ID) -> int | None:
    """Return a number of the address, or None if it is missing.

    Raises:
        InputError: it is not a whole number from 0 to `most`.
    """
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not is_number(text, most):
        raise InputError(f"{name} must be a whole number from 0 to {most:,}. Received: {text[:80]!r}")
    return int(text)


def is_number(text: str, most: int) -> bool:
    """Return whether a text is a whole number from 0 to `most`, in ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most


def turns(request: Request, name: str, following: int | None) -> dict[str, Any]:
    """Return the query values of the pages before and after this one, as `previous` and `next`; None: there is none.

    Lists are read from a row or a job on, and where the page before began cannot be computed from that. So the address
    has where the pages before began, 0 for the first one.

    Args:
        name: the parameter that says where a page begins.
        following: its value for the next page.

    Raises:
        InputError: a number of the address is not valid.
    """
    begins = request.query_params.get(BACK, "")[: MAX_BACK * 11].split(".")
    back = [number for number in begins if is_number(number, MAX_ROWS)]
    start = str(whole_number(request, name, MAX_ROWS) or 0)
    previous = {name: int(back[-1]) or None, BACK: ".".join(back[:-1])} if back else None
    after = {name: following, BACK: ".".join([*back, start][-MAX_BACK:])}
    return {"previous": previous, "next": None if following is None else after}


def job_id(request: Request) -> int:
    """Return the job's id in a path.

    Raises:
        NotFoundError: it is not a number, or larger than any id.
    """
    text = request.path_params["id"]
    if not is_number(text, MAX_ID):
        raise NotFoundError(f"There is no job {text[:80]}")
    return int(text)


def event_stream(request: Request, key: Hashable, read: Read) -> Response:
    """Return a stream of a live fragment. While it cannot be read, viewers see why."""
    feeds: Feeds = request.app.state.feeds
    if feeds.is_full(key):
        return PlainTextResponse("Too many pages are open. Close some.", 503, headers={"Retry-After": "60"})
    logged: set[str] = set()

    def readable() -> Fragment:
        try:
            return read()
        except (InputError, NotFoundError) as error:  # it was deleted, or the address is wrong
            return Fragment(render("_error.html", message=str(error)), final=True)
        except CharrnnError as error:
            return Fragment(render("_error.html", message=str(error)))
        except Exception as error:
            if str(error) not in logged:  # once, and not every second
                logger.exception("%s cannot be read", request.url.path)
                logged.add(str(error))
            return Fragment(render("_error.html", message="This cannot be shown. The server has logged the cause."))

    if request.method == "HEAD":
        return Response(media_type=EVENTS)
    return StreamingResponse(feeds.follow(key, readable), media_type=EVENTS)

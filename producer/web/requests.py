"""What pages read from requests, and the streams that they answer with."""

from __future__ import annotations

from collections.abc import Hashable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from charrnn.errors import CharrnnError, InputError, NotFoundError
from producer.options import MAX_ID
from producer.web.feeds import Feeds, Fragment, Read
from producer.web.templates import render


def whole_number(request: Request, name: str, most: int = MAX_ID) -> int | None:
    """Return a number of the address, or None if it is missing.

    Raises:
        InputError: it is not a whole number from 0 to `most`.
    """
    text = request.query_params.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most):
        raise InputError(f"{name} must be a whole number from 0 to {most:,}. Received: {text[:80]!r}")
    return int(text)


def job_id(request: Request) -> int:
    """Return the job's id in a path.

    Raises:
        NotFoundError: it is larger than any id.
    """
    number: int = request.path_params["id"]
    if number > MAX_ID:
        raise NotFoundError(f"There is no job {str(number)[:80]}")
    return number


def event_stream(request: Request, key: Hashable, read: Read) -> Response:
    """Return a stream of a live part. While it cannot be read, viewers see why."""

    def readable() -> Fragment:
        try:
            return read()
        except CharrnnError as error:
            return Fragment(render("_error.html", message=str(error)))

    feeds: Feeds = request.app.state.feeds
    return StreamingResponse(feeds.follow(key, readable), media_type="text/event-stream")

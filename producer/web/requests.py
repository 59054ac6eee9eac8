"""What pages read from requests: numbers, and forms within a limit; and the streams that they answer with."""

from __future__ import annotations

from collections.abc import Hashable
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from charrnn.errors import CharrnnError, InputError, NotFoundError
from producer.options import MAX_ID
from producer.web.feeds import Feeds, Fragment, Read
from producer.web.templates import render

MAX_BODY = 2_000_000  # bytes: about 600 kB of seeds, after their escapes; a file takes more
MAX_FIELDS = 100


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form by name.

    Raises:
        InputError: it is too large, or is no form.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise InputError(f"The form is larger than {MAX_BODY:,} bytes. Use: charrnn-jobs submit --seeds FILE")
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

"""Forms as browsers send them, within a limit."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from charrnn.errors import InputError

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

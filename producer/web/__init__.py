"""The web interface: jobs, texts, models, schedules and workers; and the report, one page as a file."""

from __future__ import annotations

from importlib.util import find_spec

from charrnn.errors import InputError

PORT = 8470
EXTRA = ("jinja2", "starlette", "uvicorn")


def has_extra() -> bool:
    """Return whether the packages of the extra `web` are installed."""
    return all(map(find_spec, EXTRA))


def require_extra() -> None:
    """Check that the packages of the extra `web` are installed.

    Raises:
        InputError: one of them is missing.
    """
    if not has_extra():
        raise InputError("The web interface requires the extra `web`. Install it: pip install '.[web]' in the clone")

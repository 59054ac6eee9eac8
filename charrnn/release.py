"""Which release of this program runs."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def release() -> str:
    """Such as "0.1.0"; "unknown" of a copy that was not installed."""
    try:
        return version("charrnn-jobs")
    except PackageNotFoundError:
        return "unknown"

"""The release of this program, and how to start its modules: (*MODULE, "worker", ...)."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

MODULE = (sys.executable, "-P", "-m")
"""-P: start the installed module, and not one of the same name in the current folder."""


@cache
def release() -> str:
    """Return the release, such as "0.1.0", or "unknown" if this copy was not installed."""
    try:
        return version("charrnn-jobs")
    except PackageNotFoundError:
        return "unknown"

"""Which release of this program runs, and how its programs are started: (*MODULE, "worker", ...)."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version

MODULE = (sys.executable, "-P", "-m")
"""-P: the installed one, and not what lies in the current folder under that name."""


@cache
def release() -> str:
    """Such as "0.1.0"; "unknown" of a copy that was not installed."""
    try:
        return version("charrnn-jobs")
    except PackageNotFoundError:
        return "unknown"

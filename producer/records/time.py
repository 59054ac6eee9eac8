"""Times in JSON."""

from __future__ import annotations

from datetime import UTC, datetime


def time(milliseconds: int | None) -> str | None:
    """Return a time of the database in ISO 8601, 2026-11-29T03:00:00Z; None if there is none or it is damaged."""
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}" if milliseconds else None
    except (OSError, OverflowError, TypeError, ValueError):
        return None

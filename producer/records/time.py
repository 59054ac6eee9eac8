"""Times in JSON."""

from __future__ import annotations

from charrnn.jobs.job.json_object import iso_time


def time(milliseconds: int | None) -> str | None:
    """Return a time of the database in ISO 8601, 2026-11-29T03:00:00Z; None if there is none or it is damaged."""
    try:
        return iso_time(milliseconds) if milliseconds else None
    except (OSError, OverflowError, TypeError, ValueError):
        return None

"""The page: jobs, texts, models, schedules and workers in a browser; and the report, one page as a file."""

from __future__ import annotations

PORT = 8470

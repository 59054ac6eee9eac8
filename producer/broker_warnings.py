"""What of a broker's set-up lets others in or loses messages. A job is lost by none of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from charrnn.jobs.queue import Queue

# CVE-2025-49844, of which a script runs code on the broker's host: the first release of each line without it, as
# Redis' and Valkey's release notes of October 2025 have them.
MENDED = {
    "redis": ("6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2"),
    "valkey": ("7.2.11", "8.0.6", "8.1.4"),
}


def warnings(queue: Queue) -> Iterator[tuple[str, str]]:
    """Name and advice of each."""
    server = queue.server()
    if queue.is_open():
        yield "broker password", "anybody who reaches it may use it. Set requirepass or an ACL, and CHARRNN_REDIS_URL"
    if re.search("ssl_cert_reqs=(cert_)?(none|optional)", queue.app.conf.broker_url, re.IGNORECASE):
        yield "broker certificate", "is not looked at, so anybody may pose as it. Set ssl_cert_reqs=required in its URL"
    if (policy := server.get("maxmemory_policy", "noeviction")) != "noeviction":
        yield "broker memory", f"drops messages when it is full. Set maxmemory-policy noeviction instead of {policy}"
    if not server.get("aof_enabled", 1):
        yield "broker disk", "forgets messages at a restart, until they are rung anew. Set appendonly yes"
    kind, version = identity(server)
    if has_known_hole(kind, version):
        mended = ", ".join(MENDED[kind])
        advice = (
            f"{kind} {version} may have CVE-2025-49844. Use one of {mended} or later, or your distribution's newest"
        )
        yield "broker version", advice


def identity(server: dict[str, Any]) -> tuple[str, str]:
    """Redis or Valkey, and its version."""
    if "valkey_version" in server:
        return "valkey", str(server["valkey_version"])
    return str(server.get("server_name", "redis")), str(server["redis_version"])


def has_known_hole(kind: str, version: str) -> bool:
    """Whether the version is before the mended one of its line, or of a line that was not mended.

    A distribution may have mended an older number.
    """
    mended = [_numbers(release) for release in MENDED.get(kind, ())]
    ours = _numbers(version)
    same_line = [release for release in mended if release[:2] == ours[:2]]
    return ours < (same_line or mended[-1:] or [()])[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))

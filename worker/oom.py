"""How often the kernel has killed a process of our cgroup because its memory was full: why a child died."""

from __future__ import annotations

import re
from collections.abc import Iterator
from multiprocessing import RawValue
from pathlib import Path

from charrnn.jobs.store.leases import DIED, OUT_OF_MEMORY

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

_known = RawValue("q", 0)  # kills that were told of; shared by the parent and its children, which are of one fork


def remember() -> None:
    """Count from now on. Called in the parent, before the first child."""
    _known.value = oom_kills()


def why_died() -> str:
    """Of what a child's predecessor died, as far as it can be told: another group's kills are not counted."""
    count = oom_kills()
    killed = count > _known.value
    _known.value = count
    return OUT_OF_MEMORY if killed else DIED


def oom_kills() -> int:
    """So far; 0 where no counter can be read."""
    for counter in _counters(MEMBERSHIP.read_text() if MEMBERSHIP.exists() else ""):
        try:
            if found := re.search(r"^oom_kill (\d+)$", counter.read_text(), re.MULTILINE):
                return int(found[1])
        except OSError:  # another layout, or a container that does not show it
            continue
    return 0


def _counters(membership: str) -> Iterator[Path]:
    """Where the counter may be: by cgroup v2 and v1, as the host names our group and as a container sees it."""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        for place in (path, "/"):
            if controllers == "":
                yield CGROUPS / place.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield CGROUPS / "memory" / place.lstrip("/") / "memory.oom_control"

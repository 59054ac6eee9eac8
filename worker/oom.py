"""Out-of-memory kills: how often the kernel killed a process of our cgroup. Tells why a child died."""

from __future__ import annotations

import re
from collections.abc import Iterator
from multiprocessing import RawValue
from pathlib import Path

from charrnn.jobs.job.states import DIED, OUT_OF_MEMORY

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

_known = RawValue("q", 0)  # kills reported so far; shared by the parent and its forked children


def remember() -> None:
    """Count kills from now on. Called in the parent, before the first child."""
    _known.value = oom_kills()


def why_died() -> str:
    """Return why a child's predecessor died, as far as it is known. Kills in another cgroup are not counted."""
    count = oom_kills()
    killed = count > _known.value
    _known.value = count
    return OUT_OF_MEMORY if killed else DIED


def oom_kills() -> int:
    """Return the number of kills so far, or 0 where no counter can be read."""
    for counter in _counters(MEMBERSHIP.read_text() if MEMBERSHIP.exists() else ""):
        try:
            if found := re.search(r"^oom_kill (\d+)$", counter.read_text(), re.MULTILINE):
                return int(found[1])
        except OSError:  # another layout, or a container that hides the file
            continue
    return 0


def _counters(membership: str) -> Iterator[Path]:
    """Yield where the counter may be: for cgroup v2 and v1, by the host's name of our group and by a container's."""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        for place in (path, "/"):
            if controllers == "":
                yield CGROUPS / place.lstrip("/") / "memory.events"
            elif "memory" in controllers.split(","):
                yield CGROUPS / "memory" / place.lstrip("/") / "memory.oom_control"

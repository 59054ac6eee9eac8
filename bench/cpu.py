"""CPU time of this machine's processes, read from /proc. Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # per second


@dataclass(frozen=True, kw_only=True)
class CpuUse:
    """CPU seconds used during one interval.

    Attributes:
        own: CPU seconds of the measured processes.
        busy: CPU seconds of all processes, and of other guests of the host.
        available: CPU seconds that all CPUs of this process could have given.
    """

    own: float
    busy: float
    available: float

    @property
    def share(self) -> float:
        """Return the share of the CPU that all processes used together."""
        return self.busy / self.available

    @property
    def others(self) -> float:
        """Return the share of the CPU that processes other than the measured ones used."""
        return max(0.0, (self.busy - self.own) / self.available)


def total(uses: Iterable[CpuUse]) -> CpuUse:
    """Return the sum over several intervals."""
    uses = list(uses)
    return CpuUse(
        own=sum(use.own for use in uses),
        busy=sum(use.busy for use in uses),
        available=sum(use.available for use in uses),
    )


class CpuMeter:
    """A meter of CPU time since its creation. `own` returns the CPU seconds of the measured processes so far."""

    def __init__(self, own: Callable[[], float]) -> None:
        self._own = own
        self._started = time.monotonic(), busy_seconds(), own()

    def read(self) -> CpuUse:
        """Return the CPU use since the creation of this meter."""
        started, busy, own = self._started
        return CpuUse(
            own=self._own() - own,
            busy=busy_seconds() - busy,
            available=(time.monotonic() - started) * len(os.sched_getaffinity(0)),
        )


def busy_seconds() -> float:
    """Return the seconds since boot during which our CPUs were not idle, including those given to other guests."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in os.sched_getaffinity(0):
            user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, ticks[:8])
            total += user + nice + system + interrupts + soft + stolen
    return total / TICKS


def process_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its threads."""
    return sum(map(int, _stat(pid)[11:13])) / TICKS


def family_seconds(root: int | None = None) -> float:
    """Return the CPU seconds of a process and of all processes that it started, servers included.

    Args:
        root: pid of the process. Default: this one.
    """
    root = root or os.getpid()
    parents, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        try:
            words = _stat(pid)
        except OSError:  # it has ended
            continue
        parents[pid], seconds[pid] = int(words[1]), sum(map(int, words[11:15])) / TICKS  # includes ended children
    return sum(seconds[pid] for pid in seconds if root in _lineage(pid, parents))


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the process name, which may contain blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _lineage(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """Yield a process, its parent, and all further ancestors."""
    while pid in parents:
        yield pid
        pid = parents[pid]

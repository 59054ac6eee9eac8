"""A child of a worker that does parts without a model: its threads beat and maintain far more often than a worker's.

It serves a queue until nothing waits, prints the most connections to the database that it had at once, and then stays
idle until its standard input ends.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from sqlalchemy import event

from charrnn.jobs.settings import Settings
from tests.fixtures.store import NO_FILE, sampled
from worker.child import Child
from worker.heartbeat import Heartbeat

OFTEN_S = 0.01


class Meter:
    """The number of open connections, now and at most."""

    def __init__(self) -> None:
        self.open = self.peak = 0

    def opened(self, *_: Any) -> None:
        self.open += 1
        self.peak = max(self.peak, self.open)

    def closed(self, *_: Any) -> None:
        self.open -= 1


def main() -> None:
    settings = replace(Settings.from_env(os.environ), heartbeat_s=OFTEN_S, maintain_s=OFTEN_S)
    child, meter = Child(settings, "host-1-busy/0", "cpu", ["generate"]), Meter()
    child.store.close()  # those that it opens from here on are counted
    event.listen(child.store.engine, "connect", meter.opened)
    event.listen(child.store.engine, "close", meter.closed)
    heartbeat = Heartbeat(child, lambda: None)
    heartbeat.start()
    while part := child.leases.claim("generate", child.owner, "cpu"):
        with heartbeat.watching(part):
            child.leases.complete_rows(part, NO_FILE, sampled(part), "cpu")
    sys.stdout.write(f"{meter.peak}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()

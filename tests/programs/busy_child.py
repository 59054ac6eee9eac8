"""A child of a worker that does parts without a model: its threads beat and maintain far more often than a worker's.

It serves a queue until nothing waits, and then stays idle until its standard input ends.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from charrnn.jobs.settings import Settings
from tests.fixtures.store import NO_FILE, sampled
from worker.child import Child
from worker.heartbeat import Heartbeat

OFTEN_S = 0.01


def main() -> None:
    settings = replace(Settings.from_env(os.environ), heartbeat_s=OFTEN_S, maintain_s=OFTEN_S)
    child = Child(settings, "host-1-busy/0", "cpu", ["generate"])
    heartbeat = Heartbeat(child, lambda: None)
    heartbeat.start()
    while part := child.leases.claim("generate", child.owner):
        with heartbeat.watching(part):
            child.leases.complete_rows(part, NO_FILE, sampled(part), "cpu")
    sys.stdin.read()


if __name__ == "__main__":
    main()

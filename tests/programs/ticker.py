"""A process of test_schedule_race.py that runs the schedules forever, with the time from a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from charrnn.jobs.connections import Connections
from charrnn.jobs.schedules import Schedules
from charrnn.jobs.settings import Settings


def main(clock: Path) -> None:
    schedules = Schedules(Connections(Settings.from_env(os.environ)), lambda: int(clock.read_text()))
    while True:
        schedules.tick()
        clock.with_name(f"ticked-{os.getpid()}").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Maintenance and schedules alone: `python -m worker.scheduler`. Any number of them may run."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import NoReturn

from charrnn.errors import CharrnnError, InputError
from charrnn.jobs.client import Client
from charrnn.jobs.leases import Leases
from charrnn.jobs.maintenance import maintain
from charrnn.jobs.settings import Settings

logger = logging.getLogger("scheduler")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        run(Settings.from_env(os.environ))
    except KeyboardInterrupt:
        return 0
    except CharrnnError as error:
        logger.error("%s", error)
        return 2 if isinstance(error, InputError) else 4


def run(settings: Settings) -> NoReturn:
    """A round every `maintain_s` seconds, and a look at the schedules in between, for ever.

    A broker or store that goes away is waited for.

    Raises:
        InputError, UnreachableError: at the start.
    """
    client = Client(settings)
    store, queue = client.store, client.queue
    client.probe()
    leases = Leases(store, settings.lease_s)
    logger.info("scheduler ready: a round every %g s", settings.maintain_s)
    while True:
        try:
            maintain(store, leases, queue, settings.maintain_s)
            client.schedules.tick()
        except CharrnnError as error:
            logger.warning("%s", error)
        except Exception:  # outlived, as by the workers
            logger.exception("a round failed")
        time.sleep(settings.look_s)


if __name__ == "__main__":
    sys.exit(main())

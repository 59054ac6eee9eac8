"""The command `python -m worker`: read its options, run a worker, and start another one in its place if Celery ends."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from typing import NoReturn

from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

from charrnn.errors import CharrnnError, InputError
from charrnn.jobs import programs
from charrnn.jobs.queue import QUEUES
from charrnn.jobs.settings import Settings
from charrnn.release import MODULE
from worker import logs
from worker.parts.watch import RESTART_PAUSE_S, is_draining

logger = logging.getLogger("worker")

AGAIN = "--again"  # of a worker that replaces one whose Celery ended


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    logs.begin(options.log_format)  # first, for the warnings of what is imported
    from worker.run import Worker

    # Celery warns of root because of pickle, which is not accepted here, and, when it loses its connection, of late
    # acknowledgement, which is not used.
    for category in (SecurityWarning, CPendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    try:
        worker = Worker(Settings.from_env(os.environ), options.devices, _queues(options.queues))
        code = worker.run(again=options.again)
        if code and not is_draining():  # Celery's code after Ctrl-C is another number than 0 too
            _start_again(arguments)
        logger.info("worker stopped", extra={"event": "stopped"})
        return 0
    except CharrnnError as error:
        logs.fail(error)
        return programs.exit_code(error)


def _start_again(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a new worker. Celery ends where the broker answers with an error, such as that its memory
    is full, and not only where it does not answer; what was in work has ended before.
    """
    logger.warning("Celery ended by an error; the worker starts again", extra={"event": "restarting"})
    for number in (signal.SIGTERM, signal.SIGINT):  # Celery's handlers are of nobody now
        signal.signal(number, lambda *_: sys.exit(0))
    time.sleep(RESTART_PAUSE_S)
    again = [*(word for word in arguments if word != AGAIN), AGAIN]
    os.execv(sys.executable, [*MODULE, "worker", *again])


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="charrnn-jobs worker", description="Do the work of jobs.")
    parser.add_argument("--devices", default=programs.DEVICES, help=programs.DEVICES_HELP)
    parser.add_argument("--queues", default=programs.QUEUES, help=programs.QUEUES_HELP)
    logs.add_option(parser)
    parser.add_argument(AGAIN, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _queues(wanted: str) -> list[str]:
    queues = [queue.strip() for queue in wanted.split(",")]
    if unknown := [queue for queue in queues if queue not in QUEUES]:
        raise InputError(f"--queues: there is no queue {unknown[0]!r}. Expected one or more of {', '.join(QUEUES)}")
    return queues


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

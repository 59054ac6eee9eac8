"""The command `python -m worker`: read the options, run a worker, and replace it by a new one if Celery ends."""

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

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # instead of a traceback of the imports, which take a second

from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

from charrnn.errors import CharrnnError, InputError
from charrnn.jobs import programs, streams
from charrnn.jobs.job.specs import QUEUES
from charrnn.jobs.settings import Settings
from charrnn.release import MODULE
from worker import lifetime, logs
from worker.parts.watch import RESTART_PAUSE_S, is_draining

logger = logging.getLogger("worker")

AGAIN = "--again"  # passed to a worker that replaces one whose Celery ended


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    streams.prepare()
    if options.parent:
        lifetime.end_with(options.parent, signal.SIGTERM)  # finish or requeue the work, as at any other end
    logs.begin(options.log_format)  # before the imports, whose warnings belong in the log
    from worker.run import Worker

    # Celery warns about running as root because of pickle, which is not accepted here. When it loses its connection, it
    # also warns about late acknowledgement, which is not used.
    for category in (SecurityWarning, CPendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    try:
        worker = Worker(Settings.from_env(os.environ), options.devices, _queues(options.queues))
        code = worker.run(again=options.again)
        if code and not is_draining():  # Celery's code after Ctrl-C is not 0 either
            _start_again(arguments)
        logger.info("worker stopped", extra={"event": "stopped"})
        return 0
    except CharrnnError as error:
        logs.fail(error)
        return programs.exit_code(error)


def _start_again(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a new worker.

    Celery ends not only when the broker does not answer, but also when it answers with an error, for example
    because its memory is full. All work in progress has ended by then.
    """
    logger.warning("Celery stopped because of an error; restarting the worker", extra={"event": "restarting"})
    for number in (signal.SIGTERM, signal.SIGINT):  # Celery's handlers have nothing left to stop
        signal.signal(number, lambda *_: sys.exit(0))
    time.sleep(RESTART_PAUSE_S)
    again = [*(word for word in arguments if word != AGAIN), AGAIN]
    os.execv(sys.executable, [*MODULE, "worker", *again])


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="charrnn-jobs worker", description="Run training and generate jobs.")
    parser.add_argument("--devices", default=programs.DEVICES, help=programs.DEVICES_HELP)
    parser.add_argument("--queues", default=programs.QUEUES, help=programs.QUEUES_HELP)
    logs.add_option(parser)
    parser.add_argument(programs.PARENT, type=int, help=argparse.SUPPRESS)
    parser.add_argument(AGAIN, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _queues(wanted: str) -> list[str]:
    queues = [queue.strip() for queue in wanted.split(",")]
    if unknown := [queue for queue in queues if queue not in QUEUES]:
        raise InputError(f"Unknown queue {unknown[0]!r} in --queues. Expected one or more of {', '.join(QUEUES)}")
    return queues


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Start a worker: `python -m worker [--devices auto|cpu|gpu|0,1] [--queues train,generate] [--log-format text|json]`.

One child for each device; a child that dies is replaced, and its replacement takes its place, its
device and, at once, the part that it held.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
import time
import uuid
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from typing import NoReturn

from billiard import current_process
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.signals import setup_logging, worker_process_init, worker_ready, worker_shutting_down
from celery.worker.consumer import Consumer

from charrnn.errors import CharrnnError, InputError, UnreachableError
from charrnn.jobs.connections import Connections
from charrnn.jobs.queue import QUEUES
from charrnn.jobs.store.store import Store
from charrnn.jobs.upkeep.health import TOUCH_S, Pulse
from charrnn.release import MODULE
from worker import devices, logs
from worker import oom as memory
from worker.heartbeat import RESTART_PAUSE_S, Heartbeat, is_draining, start_draining
from worker.transport import Transport

if __name__ == "__main__":  # first, for the warnings of what is imported
    logs.begin(logs.wanted_format(sys.argv[1:]))
try:
    from worker.app import app, settings
    from worker.tasks import Child
except InputError as unusable:  # a setting; Celery needs the application by name, made at the import
    logs.fail(unusable)
    sys.exit(2)

logger = logging.getLogger("worker")

LIBRARY = ("keras", "safetensors", "tensorflow")
AGAIN = "--again"  # of a worker that replaces one whose Celery ended


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    # Celery warns of root because of pickle, which is not accepted here, and, when it loses its connection, of late
    # acknowledgement, which is not used.
    for category in (SecurityWarning, CPendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    try:
        code = run(options)
        if code and not is_draining():  # Celery's code after Ctrl-C is another number than 0 too
            _start_again(arguments)
        logger.info("worker stopped", extra={"event": "stopped"})
        return 0
    except CharrnnError as error:
        logs.fail(error)
        return 2 if isinstance(error, InputError) else 4


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C -> 0, or another number if Celery ends by an error."""
    queues = _queues(options.queues)
    pinned = devices.choose_devices(options.devices, os.environ)
    _check_library()
    if not options.again:  # then each child sees for itself, and one lost GPU does not keep the others from work
        devices.check(pinned)
    pulse = Pulse(settings, len(pinned))
    Transport.on_connecting = pulse.touch  # an absent broker is tried for ever, in Celery's loop
    _wait_for_store(pulse) if options.again else _check_store()
    memory.remember()
    life = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    logs.identify(life)
    _connect_signals(life, pinned, queues, pulse)
    worker = app.Worker(
        hostname=life,
        queues=queues,
        concurrency=len(pinned),
        pool="prefork",
        optimization="fair",
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,  # of Celery: nobody listens; ours is in the store
        quiet=True,
    )
    worker.start()
    _sign_off(life)
    return worker.exitcode or 0


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
    parser.add_argument("--devices", default=devices.AUTO, help="auto, cpu, gpu, or GPU ids such as 0,1")
    parser.add_argument("--queues", default=",".join(QUEUES), help="out of train and generate")
    logs.add_option(parser)
    parser.add_argument(AGAIN, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _queues(wanted: str) -> list[str]:
    queues = [queue.strip() for queue in wanted.split(",")]
    if unknown := [queue for queue in queues if queue not in QUEUES]:
        raise InputError(f"--queues: there is no queue {unknown[0]!r}. Expected one or more of {', '.join(QUEUES)}")
    return queues


def _check_library() -> None:
    """See that what the children import is there; the parent itself must not import it."""
    if missing := [name for name in LIBRARY if find_spec(name) is None]:
        raise InputError(
            f"A worker needs {', '.join(missing)}. Install one of the extras cpu and gpu: pip install '.[cpu]'"
        )


def _wait_for_store(pulse: Pulse) -> None:
    """As _check_store does, of a worker that was at work already: what does not answer now will."""
    while True:
        pulse.touch()
        try:
            return _check_store()
        except UnreachableError as error:
            logger.warning("%s", error)
            time.sleep(RESTART_PAUSE_S)


def _check_store() -> None:
    """See that broker, store and files are there and belong together.

    In a process of its own: no connection may cross the fork to the pool's children, and a bucket's client
    leaves a thread behind, beside which Python warns of forks.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        pool.submit(_probe).result()


def _probe() -> None:
    connections = Connections(settings)
    try:
        connections.probe()
    finally:
        connections.close()


def _sign_off(life: str) -> None:
    """Say that the children are gone, or they would seem to live for a lease's length."""
    try:
        store = Store.open(settings)
        store.forget_workers(f"{life}/")
        store.close()
    except CharrnnError as error:
        logger.warning("%s", error)


def _connect_signals(life: str, pinned: list[str], queues: list[str], pulse: Pulse) -> None:
    @worker_process_init.connect(weak=False)  # type: ignore[untyped-decorator]
    def begin_child(**_: object) -> None:
        index = current_process().index
        devices.pin(pinned[index])
        pulse.beat(index)
        logs.identify(f"{life}/{index}", pinned[index])
        logger.info("child %d started: device %s", index, pinned[index], extra={"event": "started"})
        try:
            Child.heartbeat = Heartbeat(settings, f"{life}/{index}", pinned[index], queues, partial(pulse.beat, index))
            Child.heartbeat.take_over(memory.why_died())
            Child.heartbeat.start()
        except Exception:  # Celery would log it and keep a child that can do nothing but eat doorbells
            logger.exception("a child cannot start; another one is tried")
            time.sleep(RESTART_PAUSE_S)
            os._exit(1)

    @setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
    def keep_logging(**_: object) -> None:
        """Celery sets up logging of its own, and drops our lines, where nobody answers this signal."""

    @worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def announce(sender: Consumer, **_: object) -> None:
        sender.hub.timer.call_repeatedly(TOUCH_S, pulse.touch)
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))  # a closed terminal; Celery would start again
        ready = {"event": "ready"}
        logger.info("worker ready: devices %s, queues %s", ", ".join(pinned), ", ".join(queues), extra=ready)

    @worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def drain(**_: object) -> None:
        pulse.touch(ahead_s=settings.drain_s)  # Celery's loop ends before the children do
        start_draining(settings.drain_s)
        logger.info("worker stops: %g s to end what is in work", settings.drain_s, extra={"event": "draining"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

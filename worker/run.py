"""A worker: one child for each device; a child that dies is replaced, and its replacement takes its place, its device
and, at once, the part that it held."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context

from billiard import current_process
from celery import Celery
from celery.signals import setup_logging, worker_process_init, worker_ready, worker_shutting_down
from celery.worker.consumer import Consumer

from charrnn.errors import CharrnnError, InputError, UnreachableError
from charrnn.jobs.connections import Connections
from charrnn.jobs.queue import TASK, make_celery
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.store import Store
from charrnn.jobs.upkeep.health import TOUCH_S, Pulse
from worker import devices, logs, oom, transport
from worker.child import Child
from worker.heartbeat import Heartbeat
from worker.parts.watch import RESTART_PAUSE_S, start_draining
from worker.tasks import begin, work

logger = logging.getLogger("worker")

LIBRARY = ("keras", "safetensors", "tensorflow")


class Worker:
    """The parent of the children.

    Args:
        wanted: devices, as `choose_devices` reads them.
        queues: that are served.

    Raises:
        InputError: a device that is not there, or a library that is not installed.
    """

    def __init__(self, settings: Settings, wanted: str, queues: Sequence[str]) -> None:
        self.settings, self.queues = settings, list(queues)
        self.devices = devices.choose_devices(wanted, os.environ)
        _check_library()
        self.life = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.pulse: Pulse

    def run(self, *, again: bool) -> int:
        """Serve until SIGTERM or Ctrl-C -> 0, or another number if Celery ends by an error.

        Args:
            again: in the place of a worker that was at work: what does not answer now will.

        Raises:
            InputError: the settings do not fit together, or TensorFlow finds no GPU.
            UnreachableError: broker, store or files.
        """
        if not again:  # then each child sees for itself, and one lost GPU does not keep the others from work
            devices.check(self.devices)
        self.pulse = Pulse(self.settings, len(self.devices))
        self._wait_for_store() if again else self._check_store()
        oom.remember()
        logs.identify(self.life)
        self._connect_signals()
        worker = self._application().Worker(
            hostname=self.life,
            queues=self.queues,
            concurrency=len(self.devices),
            pool="prefork",
            optimization="fair",
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,  # of Celery: nobody listens; ours is in the store
            quiet=True,
        )
        worker.start()
        self._sign_off()
        return worker.exitcode or 0

    def _application(self) -> Celery:
        transport.install(on_connecting=self.pulse.touch)  # an absent broker is tried for ever, in Celery's loop
        app = make_celery(self.settings)
        app.task(work, name=TASK)
        return app

    def _wait_for_store(self) -> None:
        while True:
            self.pulse.touch()
            try:
                return self._check_store()
            except UnreachableError as error:
                logger.warning("%s", error)
                time.sleep(RESTART_PAUSE_S)

    def _check_store(self) -> None:
        """See that broker, store and files are there and belong together.

        In a process of its own: no connection may cross the fork to the pool's children.
        """
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
            pool.submit(_probe, self.settings).result()

    def _sign_off(self) -> None:
        """Say that the children are gone, or they would seem to live for a lease's length."""
        try:
            store = Store.open(self.settings)
            store.forget_workers(f"{self.life}/")
            store.close()
        except CharrnnError as error:
            logger.warning("%s", error)

    def _connect_signals(self) -> None:
        worker_process_init.connect(self._begin_child, weak=False)
        setup_logging.connect(_keep_logging, weak=False)
        worker_ready.connect(self._announce, weak=False)
        worker_shutting_down.connect(self._drain, weak=False)

    def _begin_child(self, **_: object) -> None:
        index = current_process().index
        device = self.devices[index]
        devices.pin(device)
        self.pulse.beat(index)
        logs.identify(f"{self.life}/{index}", device)
        logger.info("child %d started: device %s", index, device, extra={"event": "started"})
        try:
            child = Child(self.settings, f"{self.life}/{index}", device, self.queues)
            child.take_over(oom.why_died())
            begin(child, Heartbeat(child, partial(self.pulse.beat, index)))
        except Exception:  # Celery would log it and keep a child that can do nothing but eat doorbells
            logger.exception("a child cannot start; another one is tried")
            time.sleep(RESTART_PAUSE_S)
            os._exit(1)

    def _announce(self, sender: Consumer, **_: object) -> None:
        sender.hub.timer.call_repeatedly(TOUCH_S, self.pulse.touch)
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))  # a closed terminal; Celery would start again
        ready = {"event": "ready"}
        logger.info("worker ready: devices %s, queues %s", ", ".join(self.devices), ", ".join(self.queues), extra=ready)

    def _drain(self, **_: object) -> None:
        self.pulse.touch(ahead_s=self.settings.drain_s)  # Celery's loop ends before the children do
        start_draining(self.settings.drain_s)
        logger.info("worker stops: %g s to end what is in work", self.settings.drain_s, extra={"event": "draining"})


def _keep_logging(**_: object) -> None:
    """Celery sets up logging of its own, and drops our lines, where nobody answers this signal."""


def _check_library() -> None:
    """See that what the children import is there; the parent itself must not import it."""
    if missing := [name for name in LIBRARY if find_spec(name) is None]:
        raise InputError(
            f"A worker needs {', '.join(missing)}. Install one of the extras cpu and gpu: pip install '.[cpu]'"
        )


def _probe(settings: Settings) -> None:
    connections = Connections(settings)
    try:
        connections.probe()
    finally:
        connections.close()

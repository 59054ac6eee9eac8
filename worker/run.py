"""A worker: one child process for each device.

A child that dies is replaced. The new child takes its place and its device, and requeues its part at once.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import socket
import sys
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context

from billiard import current_process
from celery import Celery
from celery.signals import (
    setup_logging,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)
from celery.worker.consumer import Consumer

from charrnn.backend import BACKENDS, SETTING, choose_backend
from charrnn.errors import CharrnnError, InputError, UnreachableError
from charrnn.jobs import private, tracing
from charrnn.jobs.connections import Connections
from charrnn.jobs.queue import TASK
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.store import Store
from charrnn.jobs.upkeep.health import TOUCH_S, Pulse
from worker import device_lock, devices, lifetime, logs, oom, transport
from worker.child import Child
from worker.heartbeat import Heartbeat
from worker.parts.watch import RESTART_PAUSE_S, is_draining, start_draining
from worker.tasks import begin, work

logger = logging.getLogger("worker")

TOO_NEW = (3, 14)  # Python, for the extras cpu and gpu in pyproject.toml


class Worker:
    """The parent process of the children.

    Args:
        wanted: the devices, in the form that `choose_devices` reads.
        queues: the queues to serve.

    Raises:
        InputError: a device does not exist, or a library is not installed.
    """

    def __init__(self, settings: Settings, wanted: str, queues: Sequence[str]) -> None:
        self.settings, self.queues = settings, list(queues)
        self.devices = devices.choose_devices(wanted, os.environ)
        _check_library(settings.backend)
        self.pid = os.getpid()
        self.life = f"{socket.gethostname()}-{self.pid}-{uuid.uuid4().hex[:8]}"
        self.pulse: Pulse
        self.lock: device_lock.Lock  # in the parent on all its GPUs, in a child on its own

    def run(self, *, again: bool) -> int:
        """Serve until SIGTERM or Ctrl-C. Return 0, or another number if Celery ends because of an error.

        Args:
            again: this worker replaces one that was working, so it waits for a store or broker that does not answer.

        Raises:
            InputError: the settings do not fit together, another worker holds a GPU, or the backend finds no GPU.
            UnreachableError: broker, store or files do not answer.
        """
        if again:  # each child checks its own GPU, so that one lost GPU does not stop the others
            self.pulse = Pulse(self.settings, len(self.devices))
            self.lock = self._lock_again()
            self._wait_for_store()
        else:
            self.lock = device_lock.hold(self.devices)
            devices.check(self.devices, self.settings.home)
            self.pulse = Pulse(self.settings, len(self.devices))
            self._check_store()
        private.close_all(self.settings.home)
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
            without_heartbeat=True,  # Celery's heartbeat, which nobody reads; ours is in the store
            quiet=True,
        )
        worker.start()
        self._forget_children()
        return worker.exitcode or 0

    def _application(self) -> Celery:
        transport.install(on_connecting=self._before_connecting)
        app = transport.make_celery(self.settings)
        app.task(work, name=TASK)
        return app

    def _before_connecting(self) -> None:
        self.pulse.touch()  # Celery's loop tries forever to reach a missing broker
        self.check_broker()

    def check_broker(self) -> None:
        """Check that the local broker is this user's.

        Raises:
            PermissionError: it is not.
        """
        try:
            self.settings.check_broker()
        except InputError as error:  # Celery tries again after an OSError alone
            raise PermissionError(str(error)) from error

    def _lock_again(self) -> device_lock.Lock:
        """Lock the GPUs that the worker before this one had, and go on without those that are in use for a lease.

        A child on a GPU that was lost may never end, and the other GPUs must not wait for it.

        Raises:
            InputError: no device is left.
        """
        ends = time.monotonic() + self.settings.lease_s
        while True:
            self.pulse.expect(len(self.devices))
            try:
                return device_lock.hold(self.devices)
            except device_lock.InUseError as error:
                logger.warning("%s", error)
                if time.monotonic() < ends:
                    time.sleep(RESTART_PAUSE_S)
                elif not (others := [device for device in self.devices if device != error.device]):
                    raise
                else:
                    self.devices = others
                    logger.error("device %s is left out until this worker restarts", error.device)

    def _wait_for_store(self) -> None:
        """Wait until broker, store and files answer."""
        while True:
            self.pulse.expect(len(self.devices))
            try:
                return self._check_store()
            except UnreachableError as reason:
                logger.warning("%s", reason)
                time.sleep(RESTART_PAUSE_S)

    def _check_store(self) -> None:
        """Check that broker, store and files answer and belong together.

        The check runs in a separate process: no connection may cross the fork to the pool's children.
        """
        # A process of a pool waits for work for ever, and would keep the lock of `up`, if this one is killed.
        context, ends = get_context("fork"), (self.pid, signal.SIGKILL)
        with ProcessPoolExecutor(1, mp_context=context, initializer=lifetime.end_with, initargs=ends) as pool:
            pool.submit(_probe, self.settings).result()

    def _forget_children(self) -> None:
        """Remove the children from the store, or they would seem alive for the length of a lease."""
        try:
            store = Store.open(self.settings)
            store.forget_worker(self.life, drained=is_draining())
            store.close()
        except CharrnnError as error:
            logger.warning("%s", error)

    def _connect_signals(self) -> None:
        worker_process_init.connect(self._begin_child, weak=False)
        worker_process_shutdown.connect(_flush_traces, weak=False)
        setup_logging.connect(_keep_logging, weak=False)
        worker_ready.connect(self._announce, weak=False)
        worker_shutting_down.connect(self._drain, weak=False)

    def _begin_child(self, **_: object) -> None:
        lifetime.end_with(self.pid, signal.SIGKILL)
        index = current_process().index
        device, label = self.devices[index], devices.label_of(self.devices, index)
        self.lock.keep(device)
        devices.pin(device, self.settings.home, shares=self.devices.count(device))
        devices.leave_out_unneeded()
        self.pulse.beat(index)
        logs.identify(f"{self.life}/{index}", label)
        logger.info("child process %d started: device %s", index, label, extra={"event": "started"})
        try:
            child = Child(self.settings, f"{self.life}/{index}", label, self.queues)
            child.take_over(oom.why_died())
            begin(child, Heartbeat(child, partial(self.pulse.beat, index)))
        except CharrnnError as error:  # such as a store that is away
            logger.error("a child process cannot start; trying another one: %s", error)
            time.sleep(RESTART_PAUSE_S)
            os._exit(1)
        except Exception:  # Celery would log it and keep a child that only swallows doorbells
            logger.exception("a child process cannot start; trying another one")
            time.sleep(RESTART_PAUSE_S)
            os._exit(1)

    def _announce(self, sender: Consumer, **_: object) -> None:
        sender.hub.timer.call_repeatedly(TOUCH_S, self._look_after_children)
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))  # a closed terminal; Celery would restart
        ready = {"event": "ready"}
        labels = ", ".join(devices.label_of(self.devices, index) for index in range(len(self.devices)))
        backend = BACKENDS[choose_backend()]
        logger.info(
            "worker ready: devices %s, queues %s, backend %s", labels, ", ".join(self.queues), backend, extra=ready
        )

    def _look_after_children(self) -> None:
        for pid in self.pulse.end_hanging():
            logger.error("child process %d hangs; it was ended, and another one takes its place", pid)
        self.pulse.touch()

    def _drain(self, **_: object) -> None:
        self.pulse.touch(ahead_s=self.settings.drain_s)  # in advance: Celery's loop ends before the children do
        start_draining(self.settings.drain_s)
        draining = {"event": "draining"}
        logger.info("worker shutting down: %g s to finish work in progress", self.settings.drain_s, extra=draining)


def _keep_logging(**_: object) -> None:
    """Do nothing. If nothing handles this signal, Celery sets up its own logging and drops our lines."""


def _flush_traces(**_: object) -> None:
    """Send the last spans of a child: it ends without the exit handlers of Python."""
    tracing.flush()


def _check_library(backend: str) -> None:
    """Check that the libraries of the children are installed, and let them use this backend, or the default.

    The parent itself must not import a backend.
    """
    if backend:
        os.environ[SETTING] = backend
    try:
        choose_backend()
        if find_spec("safetensors") is None:
            raise InputError("A worker needs safetensors. Install the cpu extra or the gpu extra: pip install '.[cpu]'")
    except InputError as error:
        if sys.version_info < TOO_NEW:
            raise
        raise InputError(
            f"A worker needs Python 3.11 to 3.13, for which TensorFlow and JAX have packages. This is Python "
            f"{platform.python_version()}. Install charrnn-jobs again, with another one: python3.13 -m venv env"
        ) from error


def _probe(settings: Settings) -> None:
    connections = Connections(settings)
    try:
        connections.probe()
    finally:
        connections.close()

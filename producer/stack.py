"""The stack of `charrnn-jobs up`: a broker and a worker on this machine, which end with it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from charrnn.errors import InputError
from charrnn.jobs import private
from charrnn.jobs.programs import PARENT
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.store import Store
from charrnn.release import MODULE
from producer.broker import POLL_S, STOP_TIMEOUT_S, ignore_interrupts, local_broker
from producer.output import console
from producer.web import has_extra

WATCH_S = 1.0


def run_stack(settings: Settings, worker_arguments: list[str]) -> int:
    """Run broker and worker until Ctrl-C or SIGTERM, and return the exit code."""
    signal.signal(signal.SIGHUP, signal.default_int_handler)  # a closed terminal is a Ctrl-C as well
    Store.open(settings).close()  # makes home and store, or says why not
    private.make_folder(settings.home)
    private.close_all(settings.home)
    stop_s = settings.drain_s + STOP_TIMEOUT_S
    with (
        _lock_home(settings.home),
        _earlier_worker_ended(settings.home, stop_s) as lock,
        local_broker(settings) as keep_broker,
        _page(settings) as page,
        _worker(worker_arguments, lock, stop_s) as worker,
    ):
        console.note(f"data in {settings.home}; {page}; stop with Ctrl-C")
        try:
            while worker.poll() is None:
                keep_broker()
                time.sleep(WATCH_S)
            console.fail(f"the worker ended unexpectedly with exit code {worker.returncode}")
            return 1
        except KeyboardInterrupt:
            console.note("stopping: the worker finishes or requeues its work")
            return 0


@contextmanager
def _page(settings: Settings) -> Iterator[str]:
    """Serve the web interface, if its extra is installed, and yield where it is."""
    if not has_extra():
        yield "no web interface: it requires pip install '.[web]'"
        return
    from producer.web.server import served_in_thread

    with served_in_thread(settings) as address:
        yield f"web interface at {address}"


@contextmanager
def _lock_home(home: Path) -> Iterator[None]:
    """Hold the home folder: two stacks in one would stop each other's broker."""
    with _open_lock(home / "up.lock") as lock:
        if not _lock(lock):
            raise InputError(
                f"charrnn-jobs up already runs in {home}. For more workers: charrnn-jobs worker. "
                f"For a second stack, set another CHARRNN_HOME"
            )
        yield


@contextmanager
def _earlier_worker_ended(home: Path, stop_s: float) -> Iterator[TextIO]:
    """Yield the lock that the worker and its children inherit. It is free when the last of them has ended.

    If `up` is killed, its worker drains. A second one on the same devices would slow it down.
    """
    with _open_lock(home / "worker.lock") as lock:
        deadline = time.monotonic() + stop_s
        if not _lock(lock):
            console.note("waiting until the worker of an earlier charrnn-jobs up has ended")
            while not _lock(lock):
                if time.monotonic() > deadline:
                    raise InputError(
                        f"The worker of an earlier charrnn-jobs up in {home} has not ended within {stop_s:g} s. Kill "
                        f"it: charrnn-jobs doctor shows its process id"
                    )
                time.sleep(POLL_S)
        yield lock


def _open_lock(path: Path) -> TextIO:
    try:
        return open(path, "w", opener=private.opener)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}. Delete it, or set another CHARRNN_HOME"
        ) from error


def _lock(lock: TextIO) -> bool:
    """Lock a file. Return False if another process holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _worker(arguments: list[str], lock: TextIO, stop_s: float) -> Iterator[subprocess.Popen[bytes]]:
    words = [*MODULE, "worker", PARENT, str(os.getpid()), *arguments]
    process = subprocess.Popen(words, start_new_session=True, pass_fds=[lock.fileno()])
    try:
        yield process
    finally:
        with ignore_interrupts():
            _stop(process, stop_s)


def _stop(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

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
from types import FrameType
from typing import TextIO

from charrnn.errors import InputError
from charrnn.jobs.settings import Settings
from charrnn.jobs.store.store import Store
from charrnn.release import MODULE
from producer.broker import STOP_TIMEOUT_S, ignore_interrupts, local_broker
from producer.output import console

WATCH_S = 1.0


def run_stack(settings: Settings, worker_arguments: list[str]) -> int:
    """Run broker and worker until Ctrl-C or SIGTERM, and return the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal is a Ctrl-C as well
        signal.signal(number, _interrupt)
    Store.open(settings).close()  # makes home and store, or says why not
    settings.home.mkdir(parents=True, exist_ok=True)
    with (
        _lock_home(settings.home),
        local_broker(settings) as keep_broker,
        _worker(worker_arguments, settings.drain_s) as worker,
    ):
        console.note(f"data in {settings.home}; stop with Ctrl-C")
        try:
            while worker.poll() is None:
                keep_broker()
                time.sleep(WATCH_S)
            console.fail(f"the worker ended unexpectedly with exit code {worker.returncode}")
            return 1
        except KeyboardInterrupt:
            console.note("stopping: the worker finishes or requeues its work")
            return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _lock_home(home: Path) -> Iterator[None]:
    """Hold the home folder: two stacks in one would stop each other's broker."""
    with open(home / "up.lock", "w") as lock:
        _lock(lock, home)
        yield


def _lock(lock: TextIO, home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            f"charrnn-jobs up already runs in {home}. For more workers: charrnn-jobs worker. "
            f"For a second stack, set another CHARRNN_HOME"
        ) from error


@contextmanager
def _worker(arguments: list[str], drain_s: float) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*MODULE, "worker", *arguments], start_new_session=True)
    try:
        yield process
    finally:
        with ignore_interrupts():
            _stop(process, drain_s + STOP_TIMEOUT_S)


def _stop(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

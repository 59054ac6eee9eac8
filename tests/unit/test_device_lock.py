"""Locks on devices: one worker of a host at a time, until it and its children end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from charrnn.errors import InputError
from tests.fixtures.processes import until
from worker.device_lock import hold

IN_USE = "is in use by another worker of this host"
ROUNDS, SOON_S = 200, 0.001
# Reads times, tries to lock its arguments at each of them, says what came of it, and lets them go at the next line.
WORKER = """
import sys, time
from charrnn.errors import InputError
from worker.device_lock import hold
for line in sys.stdin:
    while time.monotonic() < float(line):
        pass
    try:
        lock = hold(sys.argv[1:])
    except InputError:
        lock = None
    print("refused" if lock is None else "held", flush=True)
    sys.stdin.readline()
    if lock:
        lock.close()
    print("free", flush=True)
"""
# Locks its arguments, forks a child, which keeps the first one and says its pid, and waits.
PARENT = """
import os, sys, signal
from worker.device_lock import hold
lock = hold(sys.argv[1:])
if not os.fork():
    lock.keep(sys.argv[1])
    print(os.getpid(), flush=True)
signal.pause()
"""

# Locks its arguments, and becomes a program that locks them too, as a worker that restarts in place.
RESTARTED = """
import os, sys
from worker.device_lock import hold
lock = hold(sys.argv[1:])
again = "import sys; from worker.device_lock import hold; lock = hold(sys.argv[1:]); print('held')"
os.execv(sys.executable, [sys.executable, "-c", again, *sys.argv[1:]])
"""


@pytest.fixture
def gpu() -> str:
    """A GPU that no other test has: locks are those of the host."""
    return f"GPU-{uuid4()}"


@contextmanager
def running(program: str, devices: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    words, pipe = [sys.executable, "-c", program, *devices], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def told(processes: Sequence[subprocess.Popen[str]], line: object = "") -> list[str]:
    """Write a line to all processes, and return what each then says."""
    for process in processes:
        assert process.stdin
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    return [process.stdout.readline().strip() for process in processes if process.stdout]


def is_free(gpu: str) -> bool:
    try:
        with hold([gpu]):
            return True
    except InputError:
        return False


def test_a_gpu_lock_is_exclusive_until_released(gpu: str) -> None:
    with hold(["cpu", gpu]), pytest.raises(InputError, match=f"Device {gpu} {IN_USE}"):
        hold([gpu])
    assert is_free(gpu)


def test_children_that_share_a_gpu_are_of_one_worker(gpu: str) -> None:
    with hold([gpu] * 3):
        for devices in ([gpu], [gpu] * 2, [gpu] * 3):
            with pytest.raises(InputError, match=IN_USE):
                hold(devices)


def test_one_of_the_workers_that_start_at_the_same_moment_gets_the_gpus(gpu: str) -> None:
    gpus = [f"{gpu}-{number}" for number in range(16)]
    # Catches: a second worker that takes what the first has not locked yet
    with ExitStack() as stack:
        workers = [stack.enter_context(running(WORKER, devices)) for devices in (gpus, gpus[::-1] * 2)]
        for _ in range(ROUNDS):
            assert sorted(told(workers, time.monotonic() + SOON_S)) == ["held", "refused"]
            told(workers)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_gpus_are_locked_in_one_order(gpu: str, order: tuple[int, int]) -> None:
    gpus = [f"{gpu}-{number}" for number in order]
    # Catches: two workers that lock the same GPUs in different orders, of which each is refused because of the other
    with hold(gpus), pytest.raises(InputError, match=f"Device {gpu}-0"):
        hold(gpus)


def test_a_lock_lasts_until_the_last_process_of_a_worker_ends(gpu: str) -> None:
    other = f"{gpu}-1"
    with running(PARENT, [gpu, other]) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        try:
            assert not is_free(other)  # Catches: a child that releases the GPUs of its parent
            parent.kill()
            parent.wait()
            assert not is_free(gpu)  # Catches: a GPU that is given away while a child of a killed worker computes on it
            assert is_free(other)  # Catches: a child that does not end, and keeps all GPUs of its worker
        finally:
            os.kill(child, signal.SIGKILL)
    until(lambda: is_free(gpu), "the end of the child")


def test_a_worker_that_restarts_in_place_can_lock_its_gpus_again(gpu: str) -> None:
    with running(RESTARTED, [gpu]) as worker:
        assert worker.stdout
        assert worker.stdout.readline() == "held\n"  # Catches: a lock that outlives the program that held it


def test_a_worker_that_is_refused_keeps_no_gpu(gpu: str) -> None:
    free, taken = f"{gpu}-0", f"{gpu}-1"
    with hold([taken]), pytest.raises(InputError, match=f"Device {taken} {IN_USE}"):
        hold([free, taken])
    with hold([free, taken]):  # Catches: GPUs that a failed attempt keeps
        pass


def test_the_cpu_is_never_locked() -> None:
    # Catches: CPU_WORKERS=3, of which two do not start
    with hold(["cpu"]), hold(["cpu"]):
        pass


@pytest.fixture
def driver(gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that gives the GPU as that of each number."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho {gpu}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("driver")
def test_a_number_and_a_uuid_are_the_same_gpu(gpu: str) -> None:
    with hold([gpu]), pytest.raises(InputError, match=f"Device 0 {IN_USE}"):
        hold(["0"])
    # Catches: two children that each may take all of a GPU's memory
    with pytest.raises(InputError, match=f"Two of the devices 0, {gpu} are the same GPU"):
        hold(["0", gpu])

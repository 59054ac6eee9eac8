"""Locks on devices: one process of a host at a time, until it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from charrnn.errors import InputError
from worker.device_lock import check_free, hold

IN_USE = "is in use by another worker of this host"
HOLDER = "import sys; from worker.device_lock import hold; lock = hold(sys.argv[1]); print('held', flush=True); input()"


@pytest.fixture
def gpu() -> str:
    """A GPU that no other test has: locks are those of the host."""
    return f"GPU-{uuid4()}"


def test_a_gpu_lock_is_exclusive_until_released(gpu: str) -> None:
    lock = hold(gpu)
    assert lock
    with pytest.raises(InputError, match=f"Device {gpu} {IN_USE}"):
        check_free(["cpu", gpu])
    lock.close()
    check_free([gpu])
    check_free([gpu])  # Catches: a check that keeps the lock


def test_a_lock_is_released_when_its_process_ends(gpu: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, gpu], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=IN_USE):
            check_free([gpu])
        holder.send_signal(signal.SIGKILL)
    check_free([gpu])


def test_each_child_of_a_shared_gpu_has_its_place(gpu: str) -> None:
    with ExitStack() as locks:
        for place in range(3):
            lock = hold(gpu, place)
            assert lock
            locks.enter_context(lock)
        with pytest.raises(InputError, match=IN_USE):
            hold(gpu, 2)
    check_free([gpu] * 3)


@pytest.mark.parametrize("place", [0, 1, 15])
def test_a_gpu_that_is_shared_and_one_that_is_not_exclude_each_other(gpu: str, place: int) -> None:
    # Catches: a GPU whose first child has just died, and that another worker takes from the other children
    lock = hold(gpu, place)
    assert lock
    with lock:
        for devices in ([gpu], [gpu] * 2):
            with pytest.raises(InputError, match=IN_USE):
                check_free(devices)
        with pytest.raises(InputError, match=IN_USE):
            hold(gpu)
    lock = hold(gpu)
    assert lock
    with lock, pytest.raises(InputError, match=IN_USE):
        hold(gpu, place)
    check_free([gpu])  # Catches: places that a failed attempt keeps


def test_the_cpu_is_never_locked() -> None:
    # Catches: CPU_WORKERS=3, of which two do not start
    assert (hold("cpu"), hold("cpu")) == (None, None)


def test_a_number_and_a_uuid_are_the_same_gpu(gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho {gpu}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    lock = hold(gpu)
    assert lock
    with lock, pytest.raises(InputError, match=f"Device 0 {IN_USE}"):
        check_free(["0"])

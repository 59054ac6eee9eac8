"""Locks on the GPUs of this host: one child process holds a place on a GPU at a time, across workers, homes and users.

A GPU has MOST_SHARES places. A child that shares a GPU holds one of them, and one that does not holds all: while one of
several children is being replaced, another worker does not take the GPU from the others.

A lock is the name of a Unix socket without a file (unix(7), "abstract"). The kernel frees the name when its process
ends, and there is no file whose owner, rights or links could be wrong, or that a service with its own /tmp would not
see. Containers see each other's locks only if they share a network namespace. The CPU has no lock: several workers may
share it, as CPU_WORKERS=3 of the Compose file does.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from charrnn.errors import InputError
from worker.devices import CPU, MOST_SHARES, ask_driver

Lock = ExitStack


def hold(device: str, place: int | None = None) -> Lock | None:
    """Lock a device, or a place on it, until the returned value is closed or this process ends. The CPU needs no lock.

    Raises:
        InputError: another process holds it.
    """
    if device == CPU or sys.platform != "linux":
        return None
    hardware = _hardware(device)
    with ExitStack() as locks:
        try:
            for number in range(MOST_SHARES) if place is None else [place]:
                locks.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0charrnn-jobs/{hardware}/{number}")
        except OSError as error:
            raise InputError(
                f"Device {device} is in use by another worker of this host. Stop that worker, or choose other devices "
                f"with --devices"
            ) from error
        return locks.pop_all()


def check_free(devices: Sequence[str]) -> None:
    """Check that no other worker of this host holds one of the devices, or a place on it.

    Raises:
        InputError: one of them is held.
    """
    for device in dict.fromkeys(devices):  # the driver answers once for each
        if lock := hold(device):
            lock.close()


def _hardware(device: str) -> str:
    """Return the UUID of a GPU that is given by its number, or the device itself if the driver does not say."""
    if not device.isdecimal():
        return device
    answer = ask_driver(device, "uuid")
    return answer if re.fullmatch(r"GPU-[\w-]+", answer) else device

"""Locks on the GPUs of this host: one child process holds a place on a GPU at a time, across workers, homes and users.

A GPU has one place, or as many as its worker was told to share it by. A worker that shares a GPU and one that does not
both need its first place, so they exclude each other.

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

from charrnn.errors import InputError
from worker.devices import CPU, ask_driver, place_of

Lock = socket.socket


def hold(device: str, place: int = 0) -> Lock | None:
    """Lock a place on a device until the returned value is closed or this process ends. The CPU needs no lock.

    Raises:
        InputError: another process holds it.
    """
    if device == CPU or sys.platform != "linux":
        return None
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0charrnn-jobs/{_hardware(device)}{f'/{place}' if place else ''}")
    except OSError as error:
        lock.close()
        raise InputError(
            f"Device {device} is in use by another worker of this host. Stop that worker, or choose other devices with "
            f"--devices"
        ) from error
    return lock


def check_free(devices: Sequence[str]) -> None:
    """Check that no other worker of this host holds one of the devices. Each child's is listed.

    Raises:
        InputError: one of them is held.
    """
    for index, device in enumerate(devices):
        if lock := hold(device, place_of(devices, index)[0]):
            lock.close()


def _hardware(device: str) -> str:
    """Return the UUID of a GPU that is given by its number, or the device itself if the driver does not say."""
    if not device.isdecimal():
        return device
    answer = ask_driver(device, "uuid")
    return answer if re.fullmatch(r"GPU-[\w-]+", answer) else device

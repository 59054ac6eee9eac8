"""Locks on the GPUs of this host: one child process holds a GPU at a time, across workers, homes and users.

A lock is the name of a Unix socket without a file (unix(7), "abstract"). The kernel frees the name when its process
ends, and there is no file whose owner, rights or links could be wrong, or that a service with its own /tmp would not
see. Containers see each other's locks only if they share a network namespace. The CPU has no lock: several workers may
share it, as CPU_WORKERS=3 of the Compose file does.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence

from charrnn.errors import InputError
from worker.devices import ANSWER_S, CPU, QUERY

Lock = socket.socket


def hold(device: str) -> Lock | None:
    """Lock a device until the returned value is closed or this process ends. The CPU needs no lock.

    Raises:
        InputError: another process holds it.
    """
    if device == CPU or sys.platform != "linux":
        return None
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0charrnn-jobs/{_hardware(device)}")
    except OSError as error:
        lock.close()
        raise InputError(
            f"Device {device} is in use by another worker of this host. Stop that worker, or choose other devices with "
            f"--devices"
        ) from error
    return lock


def check_free(devices: Sequence[str]) -> None:
    """Check that no other worker of this host holds one of the devices.

    Raises:
        InputError: one of them is held.
    """
    for device in devices:
        if lock := hold(device):
            lock.close()


def _hardware(device: str) -> str:
    """Return the UUID of a GPU that is given by its number, or the device itself if the driver does not say."""
    tool = shutil.which(QUERY[0])
    if not device.isdecimal() or tool is None:
        return device
    words = (tool, f"--id={device}", "--query-gpu=uuid", "--format=csv,noheader")
    try:
        answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=ANSWER_S).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return device
    return answer if re.fullmatch(r"GPU-[\w-]+", answer) else device

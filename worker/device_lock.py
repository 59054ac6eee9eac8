"""Locks on the GPUs of this host: a GPU belongs to one worker at a time, whatever their homes and users.

The parent of a worker locks its GPUs before it checks them, and until it ends. Its children have the lock too, as they
are forked: if it is killed, no other worker takes a GPU on which one of them still computes.

A lock is the name of a Unix socket without a file (unix(7), "abstract"). The kernel frees the name when its processes
end, and there is no file whose owner, rights or links could be wrong, or that a service with its own /tmp would not
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
from worker.devices import CPU, ask_driver

Lock = ExitStack


def hold(devices: Sequence[str]) -> Lock:
    """Lock the GPUs among some devices until the returned value is closed, or this process and those it forked end.

    All workers lock in one order, so that of several that start at the same moment one gets all of its GPUs.

    Raises:
        InputError: another worker holds one of them, or two of them are the same.
    """
    with ExitStack() as locks:
        if sys.platform == "linux":
            different = [device for device in dict.fromkeys(devices) if device != CPU]
            names = {_hardware(device): device for device in different}  # the driver answers once for each
            if len(names) < len(different):
                raise InputError(f"Two of the devices {', '.join(different)} are the same GPU. Expected each GPU once")
            for hardware in sorted(names):
                _bind(locks, hardware, names[hardware])
        return locks.pop_all()


def _bind(locks: ExitStack, hardware: str, device: str) -> None:
    try:
        locks.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0charrnn-jobs/{hardware}")
    except OSError as error:
        raise InputError(
            f"Device {device} is in use by another worker of this host. Stop that worker, or choose other devices "
            f"with --devices"
        ) from error


def _hardware(device: str) -> str:
    """Return the UUID of a GPU that is given by its number, or the device itself if the driver does not say."""
    if not device.isdecimal():
        return device
    answer = ask_driver(device, "uuid")
    return answer if re.fullmatch(r"GPU-[\w-]+", answer) else device

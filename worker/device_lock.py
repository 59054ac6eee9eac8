"""Locks on the GPUs of this host: a GPU belongs to one worker at a time, whatever their homes and users.

The parent of a worker locks its GPUs before it checks them, and until it ends. Each child has the lock of its own GPU
too, as it is forked: if the parent is killed, no other worker takes a GPU on which a child still computes. The other
GPUs are free then: a child does not end while the driver of a GPU that was lost holds it, whatever the signal.

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


class InUseError(InputError):
    """Another worker holds a GPU.

    Attributes:
        device: the GPU.
    """

    def __init__(self, device: str) -> None:
        super().__init__(
            f"Device {device} is in use by another worker of this host. Stop that worker, or choose other devices with "
            f"--devices"
        )
        self.device = device


class Lock(ExitStack):
    """A lock on GPUs, until it is closed, or this process and those that it forked end."""

    def __init__(self) -> None:
        super().__init__()
        self._sockets: dict[str, socket.socket] = {}  # by device

    def take(self, device: str, hardware: str) -> None:
        """Lock a GPU.

        Raises:
            InUseError: another worker holds it.
        """
        self._sockets[device] = self.enter_context(socket.socket(socket.AF_UNIX))
        try:
            self._sockets[device].bind(f"\0charrnn-jobs/{hardware}")
        except OSError as error:
            raise InUseError(device) from error

    def keep(self, device: str) -> None:
        """Release all other GPUs, as far as this process holds them."""
        for other in self._sockets.keys() - {device}:
            self._sockets[other].close()


def hold(devices: Sequence[str]) -> Lock:
    """Lock the GPUs among some devices.

    All workers lock in one order, so that of several that start at the same moment one gets all of its GPUs.

    Raises:
        InUseError: another worker holds one of them.
        InputError: two of them are the same.
    """
    different = [device for device in dict.fromkeys(devices) if device != CPU] if sys.platform == "linux" else []
    names = {_hardware(device): device for device in different}  # the driver answers once for each
    if len(names) < len(different):
        raise InputError(f"Two of the devices {', '.join(different)} are the same GPU. Expected each GPU once")
    lock = Lock()
    try:
        for hardware in sorted(names):
            lock.take(names[hardware], hardware)
    except InUseError:
        lock.close()
        raise
    return lock


def _hardware(device: str) -> str:
    """Return the UUID of a GPU that is given by its number, or the device itself if the driver does not say."""
    if not device.isdecimal():
        return device
    answer = ask_driver(device, "uuid")
    return answer if re.fullmatch(r"GPU-[\w-]+", answer) else device

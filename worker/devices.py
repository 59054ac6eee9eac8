"""Devices: one for each child of the pool, pinned by the environment before TensorFlow is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, MutableMapping
from itertools import takewhile

from charrnn.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
CPU = "cpu"
AUTO = "auto"
QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")


def choose_devices(wanted: str, environ: Mapping[str, str]) -> list[str]:
    """The devices of a worker, one for each child.

    Args:
        wanted: `auto` (every GPU in sight, else the CPU), `cpu`, or GPU ids such as `0,1`.
        environ: an inherited CUDA_VISIBLE_DEVICES is narrowed, never widened.

    Raises:
        InputError: a GPU that is not there.
    """
    if wanted == CPU:
        return [CPU]
    visible = visible_gpus(environ)
    if wanted == AUTO:
        return visible or [CPU]
    devices = [device.strip() for device in wanted.split(",")]
    missing = [device for device in devices if device not in visible]
    if missing or len(set(devices)) < len(devices):
        raise InputError(
            f"--devices {wanted}: expected auto, cpu, or GPUs out of {', '.join(visible) or 'none'}, each once"
        )
    return devices


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """GPUs that this process may use, as ids or UUIDs."""
    if (inherited := environ.get(VISIBLE)) is not None:
        # CUDA itself sees only the devices before the first invalid one.
        listed = (device.strip() for device in inherited.split(","))
        return list(takewhile(lambda device: device not in ("", "-1"), listed))
    if shutil.which(QUERY[0]) is None:
        return []
    answer = subprocess.run(QUERY, capture_output=True, text=True, check=False, timeout=60)
    return answer.stdout.split() if answer.returncode == 0 else []


def pin(device: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Leave one device in sight of the TensorFlow that this process will import."""
    environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    environ[VISIBLE] = "-1" if device == CPU else device

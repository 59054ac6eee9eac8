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
GPU = "gpu"
AUTO = "auto"
QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
ANSWER_S = 60.0  # a driver that nobody has used since the start of the machine takes seconds for each GPU


def choose_devices(wanted: str, environ: Mapping[str, str]) -> list[str]:
    """The devices of a worker, one for each child.

    Args:
        wanted: `auto` (every GPU in sight, else the CPU), `gpu` (every GPU in sight, one at least), `cpu`, or GPU ids
            such as `0,1`.
        environ: an inherited CUDA_VISIBLE_DEVICES is narrowed, never widened.

    Raises:
        InputError: a GPU that is not there or is named twice, or a driver that fails.
    """
    if wanted == CPU:
        return [CPU]
    visible = visible_gpus(environ)
    if wanted == AUTO and not visible:
        return [CPU]
    devices = visible if wanted in (AUTO, GPU) else [device.strip() for device in wanted.split(",")]
    missing = [device for device in devices if device not in visible]
    if not devices or missing or len(set(devices)) < len(devices):
        raise InputError(
            f"--devices {wanted}: expected auto, cpu, gpu, or GPUs out of {', '.join(visible) or 'none'}, each once"
        )
    return devices


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """GPUs that this process may use, as ids or UUIDs.

    Raises:
        InputError: the driver fails.
    """
    if (inherited := environ.get(VISIBLE)) is not None:
        # CUDA itself sees only the devices before the first invalid one.
        listed = (device.strip() for device in inherited.split(","))
        return list(takewhile(lambda device: device not in ("", "-1"), listed))
    return _ask_driver() if shutil.which(QUERY[0]) else []


def _ask_driver() -> list[str]:
    """The ids of all GPUs. A driver that fails is no machine without GPUs: who has one does not want the CPU."""
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, check=False, timeout=ANSWER_S)
        said, ids = f"{answer.stdout}{answer.stderr}".strip(), answer.stdout.split()
        if answer.returncode == 0 and ids and all(number.isdecimal() for number in ids):
            return ids
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    raise InputError(
        f"nvidia-smi answers {said!r}; expected the numbers of the GPUs. Mend the driver, set {VISIBLE}, or use "
        f"--devices cpu"
    )


def pin(device: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Leave one device in sight of the TensorFlow that this process will import."""
    environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    environ[VISIBLE] = "-1" if device == CPU else device

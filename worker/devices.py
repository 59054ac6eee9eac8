"""Devices: one for each child of the pool, pinned through the environment before TensorFlow is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from itertools import takewhile

from charrnn.errors import InputError
from charrnn.release import MODULE

VISIBLE = "CUDA_VISIBLE_DEVICES"
CPU = "cpu"
GPU = "gpu"
AUTO = "auto"
QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
ANSWER_S = 60.0  # a driver that was not used since the machine started takes seconds for each GPU
IMPORT_S = 300.0  # limit for the import of TensorFlow, which takes 3 s on a quiet machine


def choose_devices(wanted: str, environ: Mapping[str, str]) -> list[str]:
    """Return the devices of a worker, one for each child.

    Args:
        wanted: `auto` (every visible GPU, or the CPU if there is none), `gpu` (every visible GPU, at least one), `cpu`,
            or GPU ids such as `0,1`.
        environ: the environment. An inherited CUDA_VISIBLE_DEVICES is narrowed, never widened.

    Raises:
        InputError: a GPU does not exist or is named twice, or the driver fails.
    """
    if wanted == CPU:
        return [CPU]
    visible = visible_gpus(environ)
    if wanted == AUTO and not visible:
        return [CPU]
    devices = visible if wanted in (AUTO, GPU) else [device.strip() for device in wanted.split(",")]
    missing = [device for device in devices if device not in visible]
    if wanted == GPU and not devices:
        raise InputError(
            f"--devices gpu found no GPU: {VISIBLE} hides them, or {QUERY[0]} is not on PATH. Fix that, or use "
            f"--devices cpu"
        )
    if missing or len(set(devices)) < len(devices):
        raise InputError(
            f"--devices {wanted} is not valid. Expected auto, cpu, gpu, or GPU ids, each once. Visible GPUs: "
            f"{', '.join(visible) or 'none'}"
        )
    return devices


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """Return the GPUs that this process may use, as ids or UUIDs.

    Raises:
        InputError: the driver fails.
    """
    if (inherited := environ.get(VISIBLE)) is not None:
        # CUDA itself sees only the devices before the first invalid one.
        listed = (device.strip() for device in inherited.split(","))
        return list(takewhile(lambda device: device not in ("", "-1"), listed))
    return _list_gpus() if shutil.which(QUERY[0]) else []


def _list_gpus() -> list[str]:
    """Return the ids of all GPUs.

    A failing driver is an error and does not count as a machine without GPUs: users who have a GPU do not want the CPU.
    """
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, check=False, timeout=ANSWER_S)
        said, ids = f"{answer.stdout}{answer.stderr}".strip(), answer.stdout.split()
        if answer.returncode == 0 and ids and all(number.isdecimal() for number in ids):
            return ids
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    raise InputError(
        f"nvidia-smi returned {said!r}. Expected the numbers of the GPUs. Repair the driver, set {VISIBLE}, or use "
        f"--devices cpu"
    )


def pin(device: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Make one device visible to the TensorFlow that this process will import."""
    environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    environ[VISIBLE] = "-1" if device == CPU else device


def check(devices: Sequence[str]) -> None:
    """Check that TensorFlow finds each GPU. Otherwise it would silently compute on the CPU.

    The checks run in separate processes, all at once: a process that has imported TensorFlow must not fork, and its
    choice of devices is final.

    Raises:
        InputError: TensorFlow does not find one of them.
    """
    probes = {device: _start_probe(device) for device in devices if device != CPU}
    if lost := [device for device, probe in probes.items() if not _probe_succeeds(probe)]:
        raise InputError(
            f"TensorFlow finds no GPU with {VISIBLE}={lost[0]}. Expected one. Check that nvidia-smi shows it, that its "
            f"driver is new enough and that the gpu extra is installed, or choose other devices with --devices, such "
            f"as cpu"
        )


def sees_gpu() -> bool:
    """Import TensorFlow and return whether it finds the one GPU that this process is pinned to."""
    from charrnn.network.backend import gpus

    return gpus == 1


def _start_probe(device: str) -> subprocess.Popen[bytes]:
    environ = dict(os.environ)
    pin(device, environ)
    return subprocess.Popen([*MODULE, "worker.devices"], env=environ)


def _probe_succeeds(probe: subprocess.Popen[bytes]) -> bool:
    with probe:
        try:
            return probe.wait(IMPORT_S) == 0
        except subprocess.TimeoutExpired:
            probe.kill()
            return False


if __name__ == "__main__":
    sys.exit(0 if sees_gpu() else 1)

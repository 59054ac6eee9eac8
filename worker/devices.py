"""Devices: one for each child of the pool, pinned by the environment before TensorFlow is imported."""

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
ANSWER_S = 60.0  # a driver that nobody has used since the start of the machine takes seconds for each GPU
IMPORT_S = 300.0  # of TensorFlow; 3 s on a quiet machine


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
    if wanted == GPU and not devices:
        raise InputError(
            f"--devices gpu: there is no GPU in sight: {VISIBLE} hides them, or there is no {QUERY[0]} on PATH. Mend "
            f"that, or use --devices cpu"
        )
    if missing or len(set(devices)) < len(devices):
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


def check(devices: Sequence[str]) -> None:
    """See that TensorFlow finds each GPU: else it would compute on the CPU, and say nothing.

    In processes of their own, all at once: who has imported it must not fork, and sees one choice of devices for good.

    Raises:
        InputError: it does not find one.
    """
    looks = {device: _start_look(device) for device in devices if device != CPU}
    if lost := [device for device, look in looks.items() if not _found(look)]:
        raise InputError(
            f"TensorFlow finds no GPU with {VISIBLE}={lost[0]}; expected one. See that nvidia-smi shows it, that its "
            f"driver is new enough and that the extra gpu is installed, or choose others by --devices, such as cpu"
        )


def sees_gpu() -> bool:
    """Whether TensorFlow, which this imports, finds the one GPU that this process is pinned to."""
    from charrnn.network.backend import gpus

    return gpus == 1


def _start_look(device: str) -> subprocess.Popen[bytes]:
    environ = dict(os.environ)
    pin(device, environ)
    return subprocess.Popen([*MODULE, "worker.devices"], env=environ)


def _found(look: subprocess.Popen[bytes]) -> bool:
    with look:
        try:
            return look.wait(IMPORT_S) == 0
        except subprocess.TimeoutExpired:
            look.kill()
            return False


if __name__ == "__main__":
    sys.exit(0 if sees_gpu() else 1)

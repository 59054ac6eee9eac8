"""Devices: one for each child of the pool, pinned through the environment before the backend is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from itertools import takewhile
from pathlib import Path

from charrnn.backend import BACKENDS, JAX, TENSORFLOW, choose_backend
from charrnn.errors import InputError
from charrnn.release import MODULE

VISIBLE = "CUDA_VISIBLE_DEVICES"
CPU = "cpu"
GPU = "gpu"
AUTO = "auto"
QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
ANSWER_S = 60.0  # a driver that was not used since the machine started takes seconds for each GPU
CHECK_S = 300.0  # limit for the import of the backend and a computation, which take 1 to 4 s on a quiet CPU
TOLD = 200  # characters of an error of the driver or the backend, in a message


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


def pin(device: str, home: Path, environ: MutableMapping[str, str] = os.environ) -> None:
    """Make one device visible to the backend that this process will import.

    Compiled programs for a GPU are kept in the home: a training step takes 5 s to compile, again in every child.
    """
    environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    environ[VISIBLE] = "-1" if device == CPU else device
    environ["JAX_PLATFORMS"] = "cpu" if device == CPU else "cuda"  # JAX would compute on the CPU if the GPU fails
    if device != CPU:
        environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(home / "compiled" / "xla"))
        environ.setdefault("CUDA_CACHE_PATH", str(home / "compiled" / "cuda"))


def check(devices: Sequence[str], home: Path) -> None:
    """Check that each GPU computes. Otherwise the backend would silently use the CPU, or fail at the first part.

    The checks run in separate processes, all at once: a process that has imported a backend must not fork, and its
    choice of devices is final.

    Raises:
        InputError: one of them is not found or computes nothing, or something wrong.
    """
    probes = {device: _start_probe(device, home) for device in devices if device != CPU}
    failures = {device: _failure(probe) for device, probe in probes.items()}
    for device, failure in failures.items():
        if failure is not None:
            raise InputError(
                f"{failure} with {VISIBLE}={device} ({_describe(device)}). Check that nvidia-smi shows the GPU, that "
                f"its driver is new enough and that the gpu extra is installed, or choose other devices with "
                f"--devices, such as cpu"
            )


def finds_gpu() -> bool:
    """Import the backend and return whether it finds the one GPU that this process is pinned to."""
    from charrnn.backend.ops import gpus

    return gpus == 1


def engine_device(device: str) -> str:
    """Return what computes in this process: the device's name, and the backend if it is not the usual one of its kind.

    Two cards round differently, and so do two backends.
    """
    from charrnn.backend.ops import device_name

    backend, usual = choose_backend(), TENSORFLOW if device == CPU else JAX
    return device_name()[:TOLD] if backend == usual else f"{device_name()[:TOLD]} with {BACKENDS[backend]}"


def try_device() -> str | None:
    """Return what is wrong with the GPU that this process is pinned to, or None if it computes."""
    backend = BACKENDS[choose_backend()]
    try:
        if not finds_gpu():
            return f"{backend} finds no GPU"
        from charrnn.backend.trial import check_device

        check_device()
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        return f"{backend} fails ({said[0][:TOLD]})"
    return None


def _start_probe(device: str, home: Path) -> subprocess.Popen[str]:
    environ = dict(os.environ)
    pin(device, home, environ)
    return subprocess.Popen([*MODULE, "worker.devices"], env=environ, stdout=subprocess.PIPE, text=True)


def _failure(probe: subprocess.Popen[str]) -> str | None:
    """Return what `try_device` says in another process, or None if the GPU computes."""
    with probe:
        try:
            said, _ = probe.communicate(timeout=CHECK_S)
        except subprocess.TimeoutExpired:
            probe.kill()
            return f"The check of the GPU has not ended after {CHECK_S:.0f} s"
    if probe.returncode == 0:
        return None
    return said.strip().rpartition("\n")[2] or f"The check of the GPU ended with code {probe.returncode}"


def _describe(device: str) -> str:
    """Return the name of a GPU and the version of its driver, as far as the driver tells."""
    words = (QUERY[0], f"--id={device}", "--query-gpu=name,driver_version", "--format=csv,noheader")
    try:
        answer = subprocess.run(words, capture_output=True, text=True, check=True, timeout=ANSWER_S)
    except (OSError, subprocess.SubprocessError):
        return "its driver does not answer"
    name, _, driver = answer.stdout.strip()[:TOLD].partition(", ")
    return f"{name}, driver {driver}"


if __name__ == "__main__":
    if failure := try_device():
        print(failure)  # noqa: T201
        sys.exit(1)

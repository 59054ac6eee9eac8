"""Devices: one for each child of the pool, pinned through the environment before the backend is imported."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from charrnn.backend import BACKENDS, JAX, MEMORY_LIMIT, TENSORFLOW, choose_backend
from charrnn.errors import InputError
from charrnn.jobs import private
from charrnn.release import MODULE

logger = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
CPU = "cpu"
GPU = "gpu"
AUTO = "auto"
TOOL = "nvidia-smi"
LISTED_GPU = re.compile(r"GPU (\d+): .*\(UUID: ([^()]+)\)")
LISTED_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^()]+)\)")  # a part of the GPU before it
ANSWER_S = 60.0  # a driver that was not used since the machine started takes seconds for each GPU
CHECK_S = 300.0  # limit for the import of the backend and a computation, which take 1 to 4 s on a quiet CPU
MOST_SHARES = 16  # processes that share a GPU
SHARED_MEMORY = 0.8  # share of a GPU's memory that they may use together; CUDA's contexts and libraries need the rest
FRACTIONS = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")  # of its memory, for JAX: new and old name
TOLD = 200  # characters of an error of the driver or the backend, in a message


class Gpu(NamedTuple):
    """A GPU, or a part of one (MIG), as CUDA_VISIBLE_DEVICES may name it.

    A part has only its UUID, and a GPU with parts computes nothing as a whole.
    """

    name: str
    uuid: str


def choose_devices(wanted: str, environ: Mapping[str, str]) -> list[str]:
    """Return the devices of a worker, one for each child.

    Args:
        wanted: `auto` (every visible GPU, or the CPU if there is none), `gpu` (every visible GPU, at least one), `cpu`,
            or GPU ids or UUIDs such as `0,1`. `0*3` names a GPU that three children share.
        environ: the environment. An inherited CUDA_VISIBLE_DEVICES is narrowed, never widened.

    Raises:
        InputError: a GPU does not exist or is named twice, or the driver fails.
    """
    if wanted == CPU:
        return [CPU]
    visible = visible_gpus(environ)
    if wanted == AUTO and not visible:
        return [CPU]
    names = [gpu.name for gpu in visible]
    if wanted == GPU and not names:
        raise InputError(
            f"--devices gpu found no GPU: {VISIBLE} hides them, or {TOOL} is not on PATH. Fix that, or use "
            f"--devices cpu"
        )
    by_uuid = {gpu.uuid: gpu.name for gpu in visible}
    every = ((name, 1) for name in names)
    chosen = [(by_uuid.get(name, name), count) for name, count in (every if wanted in (AUTO, GPU) else _shares(wanted))]
    devices = [name for name, _ in chosen]
    if not set(devices) <= set(names) or len(set(devices)) < len(devices):
        raise InputError(
            f"--devices {wanted} is not valid. Expected auto, cpu, gpu, or GPU ids, each once; 0*3 lets 3 "
            f"processes, of at most {MOST_SHARES}, share GPU 0. Visible GPUs: {', '.join(names) or 'none'}"
        )
    return [name for name, count in chosen for _ in range(count)]


def _shares(wanted: str) -> Iterator[tuple[str, int]]:
    """Yield the ids in a list such as `0,1*3`, each with the number of its children. Other words are left as they are,
    and are no ids."""
    for word in wanted.split(","):
        name, star, count = word.strip().partition("*")
        if not star:
            yield name, 1
        elif count in map(str, range(1, MOST_SHARES + 1)):
            yield name, int(count)
        else:
            yield word, 1


def label_of(devices: Sequence[str], index: int) -> str:
    """Return the device of a child as people see it."""
    device, shares = devices[index], devices.count(devices[index])
    return device if shares == 1 else f"{device} ({devices[:index].count(device) + 1} of {shares})"


def visible_gpus(environ: Mapping[str, str]) -> list[Gpu]:
    """Return the GPUs that this process may use.

    Raises:
        InputError: the driver fails.
    """
    if (inherited := environ.get(VISIBLE)) is not None:
        # CUDA itself sees only the devices before the first invalid one.
        listed = (device.strip() for device in inherited.split(","))
        return [Gpu(device, device) for device in takewhile(lambda device: device not in ("", "-1"), listed)]
    return _list_gpus() if shutil.which(TOOL) else []


def _list_gpus() -> list[Gpu]:
    """Return all GPUs, and instead of one that is divided (MIG) its parts.

    A failing driver is an error and does not count as a machine without GPUs: users who have a GPU do not want the CPU.
    """
    try:
        answer = _run_tool("-L")
        said = f"{answer.stdout}{answer.stderr}".strip()
        if answer.returncode == 0 and (gpus := _listed(answer.stdout.splitlines())):
            return gpus
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    raise InputError(
        f"nvidia-smi -L returned {said[:TOLD]!r}. Expected a list of GPUs. Repair the driver, set {VISIBLE}, or use "
        f"--devices cpu"
    )


def _listed(lines: Sequence[str]) -> list[Gpu]:
    """Return the GPUs that are listed in lines, or none if a line is anything else."""
    found: list[list[Gpu]] = []  # each with its parts
    for line in lines:
        if gpu := LISTED_GPU.fullmatch(line):
            found.append([Gpu(*gpu.groups())])
        elif found and (part := LISTED_MIG.fullmatch(line)):
            found[-1].append(Gpu(part[1], part[1]))
        else:
            return []
    return [gpu for whole, *parts in found for gpu in parts or [whole]]


def pin(device: str, home: Path, environ: MutableMapping[str, str] = os.environ, *, shares: int = 1) -> None:
    """Make one device visible to the backend that this process will import.

    Compiled programs for a GPU are kept in the home: a training step takes 5 s to compile, again in every child.

    Args:
        device: the device.
        home: the home of the worker.
        environ: the environment to change.
        shares: number of processes that share the device.
    """
    environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    environ[VISIBLE] = "-1" if device == CPU else device
    environ["JAX_PLATFORMS"] = "cpu" if device == CPU else "cuda"  # JAX would compute on the CPU if the GPU fails
    if device != CPU and (folder := _compiled(home)):
        environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
        environ.setdefault("CUDA_CACHE_PATH", str(folder / "cuda"))
    if shares > 1:
        _limit_memory(device, shares, environ)
    if environ.get(MEMORY_LIMIT):  # TensorFlow would take all of it at once
        environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def leave_out_unneeded() -> None:
    """Let TensorFlow import neither Keras, JAX nor pandas: no worker uses what needs them.

    Where they are installed, they are a third of its import (0.9 of 2.7 s of CPU) and 190 of its 680 MB.
    """
    if choose_backend() == TENSORFLOW:
        for name in ("keras", JAX, "pandas"):
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's own way to prevent an import


def _limit_memory(device: str, shares: int, environ: MutableMapping[str, str]) -> None:
    """Limit the memory of a GPU that a backend takes, unless the user has limited it."""
    if not any(name in environ for name in FRACTIONS):
        environ[FRACTIONS[0]] = f"{SHARED_MEMORY / shares:.3f}"
    if not environ.get(MEMORY_LIMIT):
        total = ask_driver(device, "memory.total", "nounits")  # MiB; not known of a part of a GPU
        if total.isdecimal():
            environ[MEMORY_LIMIT] = str(int(int(total) * SHARED_MEMORY / shares))


def _compiled(home: Path) -> Path | None:
    """Return the folder of compiled programs, or None if others could put programs of theirs there."""
    folder = home / private.COMPILED
    try:
        private.make_folder(folder)
    except InputError as error:
        logger.warning("compiled programs are not kept: %s", error)
        return None
    return folder


def check(devices: Sequence[str], home: Path) -> None:
    """Check that each GPU computes. Otherwise the backend would silently use the CPU, or fail at the first part.

    The checks run in separate processes, all at once: a process that has imported a backend must not fork, and its
    choice of devices is final.

    Raises:
        InputError: one of them is not found or computes nothing, or something wrong.
    """
    probes = {device: _start_probe(device, home) for device in dict.fromkeys(devices) if device != CPU}
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
    name, _, driver = ask_driver(device, "name,driver_version")[:TOLD].partition(", ")
    return f"{name}, driver {driver}" if name else "its driver does not answer"


def ask_driver(device: str, fields: str, *formats: str) -> str:
    """Return what the driver says about a GPU, or "" if it does not answer."""
    words = (f"--id={device}", f"--query-gpu={fields}", f"--format={','.join(('csv', 'noheader', *formats))}")
    try:
        answer = _run_tool(*words)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _run_tool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run nvidia-smi. Its bytes may be no text, as in a report of a broken driver."""
    return subprocess.run((TOOL, *words), capture_output=True, errors="replace", check=False, timeout=ANSWER_S)


if __name__ == "__main__":
    leave_out_unneeded()
    if failure := try_device():
        print(failure)  # noqa: T201
        sys.exit(1)
